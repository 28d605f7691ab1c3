// Completion: a text, and how the model goes on from it, in the colours of its surprise.

import { events } from './api.js';
import { $, make, notice, stoppable } from './dom.js';
import { Heat, bytesOf } from './heat.js';
import { session } from './sessions.js';

const fields = { max_tokens: Number, temperature: Number, top_p: Number, seed: Number, stop: String };

function request() {
  const json = { prompt: $('prompt').value, logprobs: $('surprise').checked ? 0 : null, stream_options: { include_usage: true } };
  for (const [name, kind] of Object.entries(fields)) if ($(name).value !== '') json[name] = kind($(name).value);
  if (session()?.position) json.session = session().id;
  return json;
}

function mark(param) {
  for (const name of Object.keys(fields)) $(name).setAttribute('aria-invalid', String(name === param));
  $('prompt').setAttribute('aria-invalid', String(param === 'prompt'));
}

export function openComplete() {
  const answer = $('answer');
  const status = $('complete-status');
  let text = '';

  async function run(signal) {
    const heat = new Heat(answer);
    const began = performance.now();
    let tokens = 0;
    let bits = 0;
    let usage = null;
    let first = 0;
    text = '';
    answer.hidden = false;
    answer.append(make('p', { className: 'given' }, $('prompt').value));
    heat.block = answer.firstChild;
    $('complete-take').disabled = true;
    status.textContent = 'reading the text …';
    try {
      for await (const event of events('/v1/completions', request(), signal)) {
        usage = event.usage || usage;
        const choice = event.choices[0];
        if (!choice) continue;
        first ||= performance.now() - began;
        text += choice.text;
        const logprobs = choice.logprobs;
        if (logprobs && logprobs.tokens.length) {
          logprobs.tokens.forEach((name, i) => {
            const own = -logprobs.token_logprobs[i] / Math.LN2;
            heat.add(bytesOf(name), own);
            tokens++;
            bits += own;
          });
          heat.colour();
        } else if (choice.text) {
          heat.add(new TextEncoder().encode(choice.text), 0);
          tokens++;
        }
        const seconds = (performance.now() - began - first) / 1000;
        status.textContent = `${tokens} tokens` + (seconds > 0.2 ? `, ${(tokens / seconds).toFixed(0)} a second` : '');
      }
    } finally {
      heat.end();
      $('complete-take').disabled = !text;
    }
    const read = usage ? `, after ${usage.prompt_tokens} that were read in ${(first / 1000).toFixed(2)} s` : '';
    const mean = tokens && bits ? `, ${(bits / tokens).toFixed(2)} bits a token` : '';
    status.textContent += read + mean;
    return true;
  }

  $('complete-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    if ($('complete-go').disabled) return;
    notice('');
    mark('');
    const done = await stoppable($('complete-go'), $('complete-stop'), $('complete'), (signal) =>
      run(signal).catch((error) => {
        mark(error.param);
        throw error;
      }),
    );
    if (!done) status.textContent = text ? 'stopped' : '';
  });
  $('prompt').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) $('complete-form').requestSubmit();
  });
  $('complete-take').addEventListener('click', () => {
    $('prompt').value += text;
    text = '';
    $('complete-take').disabled = true;
    answer.hidden = true;
    $('prompt').focus();
    $('prompt').scrollTop = $('prompt').scrollHeight;
  });
}
