// A file is read by a session, in parts: how far it is, how surprising each word was, and what the inner loop learns.

import { events, get, post } from './api.js';
import { Cost, Layers } from './charts.js';
import { $, make, notice, number, short } from './dom.js';
import { Heat, bytesOf } from './heat.js';
import { create, isOf, onSession, put, session } from './sessions.js';

const PART = 8192; // characters that are sent at once
const LATE = 4000; // bytes that "lately" means

let heat, layers, cost;
let reading = null;
let following = true; // the end of the text stays in sight until somebody looks at what was before
let drawn = ''; // the session whose losses are drawn
let spaceIsAdded = false; // the tokenizer puts a space before a text

// Parts of a text that give together the tokens of the whole: cut before a space between two words, which is left out
// where the tokenizer adds one.
export async function* partsOf(file, size = PART) {
  const reader = file.stream().pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let done = false; !done; ) {
    const next = await reader.read();
    done = next.done;
    rest += next.value || '';
    while (rest.length > 2 * size) {
      const cut = [...rest.slice(size, 2 * size).matchAll(/\S (?=\S)/gu)].at(-1);
      const at = cut ? size + cut.index + 1 : size + (/[\uD800-\uDBFF]/.test(rest[size - 1]) ? 1 : 0);
      yield { text: rest.slice(0, at), bytes: new TextEncoder().encode(rest.slice(0, at)).length };
      rest = rest.slice(cut && spaceIsAdded ? at + 1 : at);
    }
  }
  if (rest) yield { text: rest, bytes: new TextEncoder().encode(rest).length };
}

class Rate {
  constructor() {
    this.bits = 0;
    this.bytes = 0;
    this.late = [];
  }

  add(bits, bytes) {
    this.bits += bits;
    this.bytes += bytes;
    this.late.push([bits, bytes]);
    let held = this.late.reduce((sum, [, n]) => sum + n, 0);
    while (this.late.length > 1 && held - this.late[0][1] > LATE) held -= this.late.shift()[1];
  }

  show() {
    if (!this.bytes) return;
    const [bits, bytes] = this.late.reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
    $('fact-mean').textContent = (this.bits / this.bytes).toFixed(3);
    $('fact-late').textContent = (bits / (bytes || 1)).toFixed(3);
  }
}

function showWorst() {
  $('worst').replaceChildren(
    ...heat.worst.map(({ text, number: line, rate }) => make('li', {}, make('b', {}, `${rate.toFixed(1)} bits a byte`), ` line ${line}: ${text.trim().slice(0, 160)}`)),
  );
  $('worst-box').hidden = !heat.worst.length;
}

// What is drawn when the next frame is; events come faster.
let due = false;
let latest = 0;
function later(position, rate) {
  latest = position;
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    heat.colour();
    layers.draw();
    if (following) heat.element.scrollTop = heat.element.scrollHeight;
    cost?.show(latest);
    rate.show();
    $('fact-tokens').textContent = number(latest);
  });
}

function follow(event, rate) {
  if (event.logprobs) {
    let bits = 0;
    let bytes = 0;
    event.logprobs.tokens.forEach((name, i) => {
      const own = -event.logprobs.token_logprobs[i] / Math.LN2 || 0;
      const raw = bytesOf(name);
      heat.add(raw, own);
      bits += own;
      bytes += raw.length;
    });
    rate.add(bits, bytes);
  }
  if (event.layers) layers.add(event.position, event.layers);
  later(event.position, rate);
}

async function read(file, signal) {
  const one = session() || (await create(file.name));
  const rate = new Rate();
  const began = performance.now();
  const start = one.position;
  let bytes = 0;
  following = true;
  heat.clear();
  layers.clear();
  drawn = one.id;
  $('learning').hidden = $('surprise-box').hidden = $('progress').hidden = false;
  $('fact-state').textContent = short(one.state_bytes, 'B');
  $('read-status').textContent = `reading ${file.name} …`;
  for await (const part of partsOf(file)) {
    for await (const event of events(`/v1/sessions/${one.id}/feed`, { prompt: part.text, logprobs: 0 }, signal)) {
      follow(event, rate);
      if (event.object === 'session') put(event);
      if (event.object === 'session.progress') $('bar').value = Math.min(1, (bytes + (part.bytes * event.read) / event.total) / (file.size || 1));
    }
    bytes += part.bytes;
    if (signal.aborted) break;
    $('bar').value = Math.min(1, bytes / (file.size || 1));
    const speed = (session()?.position - start) / ((performance.now() - began) / 1000);
    $('read-status').textContent = `${file.name}: ${short(bytes, 'B')} of ${short(file.size, 'B')}, ${number(speed)} tokens a second`;
    showWorst();
  }
  const tokens = number((session()?.position ?? start) - start);
  $('read-status').textContent = `${file.name}: ${tokens} tokens read in ${((performance.now() - began) / 1000).toFixed(1)} s`;
}

async function begin(file) {
  if (!file) return;
  if (reading) reading.abort();
  while (reading) await new Promise((resolve) => setTimeout(resolve, 20));
  notice('');
  const controller = (reading = new AbortController());
  try {
    await read(file, controller.signal);
  } catch (error) {
    $('read-status').textContent = error.name === 'AbortError' ? `${file.name}: stopped` : '';
    if (error.name !== 'AbortError') notice(error.message);
  } finally {
    heat.end();
    layers.draw();
    showWorst();
    if (following) heat.element.scrollTop = heat.element.scrollHeight;
    $('progress').hidden = true;
    reading = null;
  }
}

// What a session that was selected has learned so far.
async function showSession() {
  const one = session();
  if (reading || !one) return;
  $('fact-tokens').textContent = number(one.position);
  $('fact-state').textContent = short(one.state_bytes, 'B');
  cost?.show(one.position);
  try {
    const { position, layers: stats } = await get(`/v1/sessions/${one.id}/layers`);
    if (reading || session()?.id !== one.id) return;
    layers.add(position, stats);
    layers.draw();
    $('learning').hidden = false;
  } catch (error) {
    notice(error.message);
  }
}

export function openRead() {
  heat = new Heat($('heat'));
  layers = new Layers($('layers'));
  $('ramp').append(...Array.from({ length: 12 }, (_, i) => make('i', { className: `ramp-${i}` })));
  onSession(() => {
    if (reading) return;
    if (!isOf(drawn)) {
      layers.clear();
      drawn = session()?.id || '';
      $('surprise-box').hidden = $('learning').hidden = true;
    }
    showSession();
  });
  $('file').addEventListener('change', () => {
    begin($('file').files[0]);
    $('file').value = '';
  });
  $('read-stop').addEventListener('click', () => reading?.abort());
  const drop = $('drop');
  for (const kind of ['dragenter', 'dragover'])
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add('over');
    });
  for (const kind of ['dragleave', 'drop']) drop.addEventListener(kind, () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    begin(event.dataTransfer.files[0]);
  });
  for (const kind of ['wheel', 'touchmove', 'keydown', 'pointerdown']) $('heat').addEventListener(kind, () => (following = false), { passive: true });
  $('heat').addEventListener('scrollend', () => {
    const { scrollHeight, scrollTop, clientHeight } = $('heat');
    if (scrollHeight - scrollTop - clientHeight < 4) following = true;
  });
  for (const kind of ['pointerover', 'click'])
    $('heat').addEventListener(kind, (event) => {
      const { bits } = event.target.dataset;
      $('bits').textContent = bits ? `“${event.target.textContent.trim().slice(0, 60)}”: ${bits} bits` : '';
    });
}

// With a key, if one is needed.
export async function showRead() {
  try {
    const { token_strs: [first] } = await post('/tokenize', { prompt: 'a', add_special_tokens: false, return_token_strs: true });
    spaceIsAdded = first.startsWith(' ');
    cost = new Cost($('cost'), await get('/cost'));
    const one = session();
    if (one) cost.show(one.position);
  } catch (error) {
    notice(error.message);
  }
}

