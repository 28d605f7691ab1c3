// Sessions as a tree of which came from which: selected by mouse or arrows, forked, named, taken back, saved, loaded,
// deleted.

import { ask, get, post } from './api.js';
import { $, make, notice, number, short } from './dom.js';

const KEEP = 'innerloop.session';
const list = new Map();
let selected = sessionStorage.getItem(KEEP) || '';
let changed = () => {};

export const session = () => list.get(selected) || null;
// Whether the selected session is that one or came from it.
export function isOf(id) {
  for (let one = session(); one; one = list.get(one.parent)) if (one.id === id) return true;
  return false;
}
export const nameOf = (one) => one.name || `session ${one.id.slice(-6)}`;

export function onSession(tell) {
  changed = tell;
}

// One that has come or moved, as the server describes it.
export function put(one) {
  list.set(one.id, { ...list.get(one.id), ...one });
  show();
}

export function select(id, focus) {
  selected = list.has(id) ? id : '';
  sessionStorage.setItem(KEEP, selected);
  show();
  changed();
  if (focus) $('tree').querySelector('[aria-selected=true]')?.focus();
}

export async function create(name) {
  const one = await post('/v1/sessions', name ? { name: name.slice(0, 60) } : {});
  put(one);
  select(one.id);
  return one;
}

function item(one, level) {
  const node = make('li', {
    role: 'treeitem', 'aria-level': level, 'aria-selected': String(one.id === selected), tabIndex: -1,
    title: `state ${one.fingerprint}`,
  });
  node.dataset.id = one.id;
  node.append(make('span', { className: 'name' }, nameOf(one)), make('span', { className: 'at' }, ` ${number(one.position)}`));
  return node;
}

function show() {
  const children = new Map();
  for (const one of list.values()) {
    const parent = list.has(one.parent) ? one.parent : '';
    children.set(parent, [...(children.get(parent) || []), one]);
  }
  const nodes = [];
  const walk = (parent, level) => {
    for (const one of children.get(parent) || []) {
      const node = item(one, level);
      node.style.setProperty('--level', level - 1);
      nodes.push(node);
      walk(one.id, level + 1);
    }
  };
  walk('', 1);
  const focused = $('tree').contains(document.activeElement);
  $('tree').replaceChildren(...nodes);
  const current = nodes.find((node) => node.dataset.id === selected) || nodes[0];
  if (current) current.tabIndex = 0;
  if (focused) current?.focus();
  $('sessions-hint').hidden = nodes.length > 0;
  const one = session();
  $('session').hidden = !one;
  $('drop-hint').textContent = one ? `“${nameOf(one)}” goes on with it.` : 'A new session reads it.';
  $('complete-session').hidden = $('chat-session').hidden = !one || !one.position;
  if (!one) return;
  $('session-name').textContent = nameOf(one);
  $('session-facts').textContent = `${number(one.position)} tokens read, a state of ${short(one.state_bytes, 'B')}, generation ${one.generation}`;
  $('complete-session').textContent = $('chat-session').textContent = `Goes on from “${nameOf(one)}”, after what it has read; the session stays as it is.`;
  $('rewind-to').min = one.rewind_limit;
  $('rewind-to').max = one.position;
  $('rewind-to').title = `from ${one.rewind_limit} to ${one.position}`;
  $('session-rewind').disabled = one.rewind_limit >= one.position;
  if (!(Number($('rewind-to').value) >= one.rewind_limit && Number($('rewind-to').value) <= one.position)) $('rewind-to').value = one.rewind_limit;
}

// Work that a button asks for; what goes wrong is said.
function button(id, work) {
  $(id).addEventListener('click', async () => {
    notice('');
    $(id).disabled = true;
    try {
      await work();
    } catch (error) {
      notice(error.message);
    }
    $(id).disabled = false;
    show();
  });
}

async function fork() {
  const name = $('new-name').value.trim();
  const made = await post(`/v1/sessions/${selected}/fork`, name ? { name } : {});
  $('new-name').value = '';
  put(made.data[0]);
  select(made.data[0].id);
}

async function rename() {
  const one = session();
  const json = { name: $('new-name').value.trim() };
  put(await (await ask('PATCH', `/v1/sessions/${one.id}`, { json, headers: { 'If-Match': String(one.generation) } })).json());
  $('new-name').value = '';
}

async function rewind() {
  const one = session();
  const headers = { 'If-Match': String(one.generation) };
  put(await post(`/v1/sessions/${one.id}/rewind`, { position: Number($('rewind-to').value) }, { headers }));
  changed();
}

async function save() {
  const one = session();
  const state = await (await ask('GET', `/v1/sessions/${one.id}/state`)).blob();
  const link = make('a', { href: URL.createObjectURL(state), download: `${nameOf(one).replace(/[^\p{L}\p{N}._ -]/gu, '_')}.ilstate` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function load(file) {
  notice('');
  try {
    const name = file.name.replace(/\.ilstate$/, '').slice(0, 60);
    const response = await ask('PUT', `/v1/sessions?name=${encodeURIComponent(name)}`, { body: file, type: 'application/octet-stream' });
    const one = await response.json();
    put(one);
    select(one.id, true);
  } catch (error) {
    notice(error.message);
  }
}

async function remove() {
  const one = session();
  const sure = $('session-delete');
  if (sure.dataset.sure !== one.id) { // a second click deletes
    sure.dataset.sure = one.id;
    sure.textContent = 'Really delete';
    setTimeout(() => {
      sure.dataset.sure = '';
      sure.textContent = 'Delete';
    }, 4000);
    return;
  }
  await ask('DELETE', `/v1/sessions/${one.id}`);
  list.delete(one.id);
  sure.dataset.sure = '';
  sure.textContent = 'Delete';
  select(list.has(one.parent) ? one.parent : '');
}

export async function showSessions() {
  try {
    let after = '';
    let page;
    do {
      page = await get(`/v1/sessions?limit=1000${after}`);
      for (const one of page.data) list.set(one.id, one);
      after = `&after=${page.data.at(-1)?.id}`;
    } while (page.has_more);
  } catch (error) {
    notice(error.message);
  }
  select(selected);
}

export function openSessions() {
  button('session-new', () => create());
  button('session-fork', fork);
  button('session-rename', rename);
  button('session-rewind', rewind);
  button('session-save', save);
  button('session-delete', remove);
  $('session-load').addEventListener('change', async () => {
    const [file] = $('session-load').files;
    if (file) await load(file);
    $('session-load').value = '';
  });
  $('tree').addEventListener('click', (event) => {
    const id = event.target.closest('[role=treeitem]')?.dataset.id;
    if (id) select(id === selected ? '' : id, true);
  });
  $('tree').addEventListener('keydown', (event) => {
    const nodes = [...$('tree').children];
    const i = nodes.indexOf(document.activeElement);
    if (i < 0) return;
    const level = Number(nodes[i].getAttribute('aria-level'));
    const above = nodes.slice(0, i).findLast((node) => Number(node.getAttribute('aria-level')) < level);
    const to = {
      ArrowDown: nodes[i + 1], ArrowUp: nodes[i - 1], Home: nodes[0], End: nodes.at(-1), ArrowLeft: above, ArrowRight: nodes[i + 1],
    }[event.key];
    if (event.key === 'Enter' || event.key === ' ') select(nodes[i].dataset.id, true);
    else if (to) select(to.dataset.id, true);
    else return;
    event.preventDefault();
  });
}
