// Conversations, in the form of the model's chat template.

import { events } from './api.js';
import { $, make, notice, stoppable } from './dom.js';
import { session } from './sessions.js';

const KEEP = 'innerloop.conversation';

export function openChat() {
  const list = $('messages');
  let messages = JSON.parse(sessionStorage.getItem(KEEP) || '[]');

  const keep = () => sessionStorage.setItem(KEEP, JSON.stringify(messages));

  function show(message) {
    const words = make('div', { className: 'words' }, message.content);
    const who = message.role === 'user' ? 'You' : 'Model';
    list.append(make('div', { className: `message ${message.role}` }, make('span', { className: 'who' }, who), words));
    $('chat-empty').hidden = true;
    return words;
  }

  function showAll() {
    list.replaceChildren();
    messages.forEach(show);
    $('chat-empty').hidden = messages.length > 0;
  }

  async function answer(signal) {
    const message = { role: 'assistant', content: '' };
    const words = show(message);
    const began = performance.now();
    $('chat-status').textContent = 'reading …';
    const request = { messages, max_tokens: 1024 };
    if (session()?.position) request.session = session().id;
    words.classList.add('coming');
    try {
      for await (const event of events('/v1/chat/completions', request, signal)) {
        const piece = event.choices[0]?.delta.content;
        if (!piece) continue;
        message.content += piece;
        words.append(piece);
        words.parentNode.scrollIntoView({ block: 'end' });
      }
    } finally {
      words.classList.remove('coming');
      if (message.content) messages.push(message);
      else words.parentNode.remove();
      keep();
    }
    const seconds = (performance.now() - began) / 1000;
    $('chat-status').textContent = `${message.content.length} characters in ${seconds.toFixed(1)} s`;
    return true;
  }

  $('chat-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    const content = $('say').value.trim();
    if (!content || $('chat-go').disabled) return;
    notice('');
    messages.push({ role: 'user', content });
    show(messages.at(-1));
    $('say').value = '';
    const done = await stoppable($('chat-go'), $('chat-stop'), $('chat'), answer);
    if (done === null) {
      $('chat-status').textContent = '';
      if (messages.at(-1)?.role === 'user') {
        $('say').value = messages.pop().content; // nothing came: to be sent again
        keep();
        showAll();
      }
    }
    $('say').focus();
  });
  $('say').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $('chat-form').requestSubmit();
  });
  $('chat-new').addEventListener('click', () => {
    $('chat-stop').click();
    messages = [];
    keep();
    showAll();
    $('chat-status').textContent = '';
    $('say').focus();
  });
  showAll();
}
