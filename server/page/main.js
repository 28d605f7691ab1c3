// The page as a whole: its tabs, the model's name, the API key.

import { get, key, onKeyNeeded } from './api.js';
import { openChat } from './chat.js';
import { openComplete } from './complete.js';
import { $, notice, short } from './dom.js';
import { openRead, showRead } from './read.js';
import { openSessions, showSessions } from './sessions.js';

function openTabs() {
  const tabs = [...document.querySelectorAll('[role=tab]')];
  function select(tab, focus) {
    for (const other of tabs) {
      other.setAttribute('aria-selected', String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      $(other.getAttribute('aria-controls')).hidden = other !== tab;
    }
    if (focus) tab.focus();
    history.replaceState(null, '', `#${tab.getAttribute('aria-controls')}`);
  }
  tabs.forEach((tab, i) => {
    tab.addEventListener('click', () => select(tab));
    tab.addEventListener('keydown', (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      select(tabs[(to + tabs.length) % tabs.length], true);
    });
  });
  const asked = tabs.find((tab) => `#${tab.getAttribute('aria-controls')}` === location.hash);
  select(asked || tabs[0]);
}

function openKey() {
  const dialog = $('key-dialog');
  let waiting = null; // for all requests that found no key
  let answer = null;

  function end(given) {
    if (dialog.open) dialog.close();
    if (answer) answer(given);
    waiting = answer = null;
  }
  onKeyNeeded(() => {
    $('key-button').hidden = false;
    if (!waiting) {
      waiting = new Promise((resolve) => (answer = resolve));
      $('key-wrong').hidden = !key.get();
      if (!dialog.open) dialog.showModal();
    }
    return waiting;
  });
  $('key-form').addEventListener('submit', (event) => {
    event.preventDefault();
    key.set($('key').value.trim());
    $('key').value = '';
    end(true);
    showAll();
  });
  $('key-cancel').addEventListener('click', () => end(false));
  dialog.addEventListener('close', () => end(false));
  $('key-button').addEventListener('click', () => dialog.showModal());
  $('key-button').hidden = !key.get();
}

async function showModel() {
  try {
    const [model] = (await get('/v1/models')).data;
    $('model').textContent = `${model.id} · ${short(model.meta.n_params)} parameters`;
    $('model').title = `fingerprint ${model.meta.fingerprint}`;
    document.title = `${model.id} · innerloop`;
    $('chat-none').hidden = model.meta.chat;
    $('chat-form').hidden = $('chat-empty').hidden = !model.meta.chat;
  } catch (error) {
    $('model').textContent = '';
    notice(error.message);
  }
}

async function showAll() {
  await showModel();
  await showSessions();
  await showRead();
}

openKey();
openTabs();
openComplete();
openChat();
openSessions();
openRead();
showAll();
