// What the page asks the server: JSON, events, and the API key that goes with both.

const KEEP = 'innerloop.key';
const TRIES = 4; // more of a request that finds the server busy

export class Refused extends Error {
  constructor(status, error) {
    super(error.message || `The server answered ${status}.`);
    this.status = status;
    this.code = error.code;
    this.param = error.param;
  }
}

let askForKey = async () => false;

// ask: shows the dialog, and says whether there is a key now.
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export const key = {
  get: () => sessionStorage.getItem(KEEP) || '',
  set: (value) => (value ? sessionStorage.setItem(KEEP, value) : sessionStorage.removeItem(KEEP)),
};

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error || {};
  } catch {
    // an answer that is not the server's own: its status has to do
  }
  return new Refused(response.status, error);
}

// Whether the request is made again, after a moment: the server has too much to do, and says when it has less.
async function isTriedAgain(response, tries) {
  const seconds = Number(response.headers.get('Retry-After'));
  if (![429, 503].includes(response.status) || !seconds || tries >= TRIES) return false;
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return true;
}

// The response, or an error in the server's words. A missing key is asked for, and the request made again.
export async function ask(method, path, { json, body, type, headers = {}, signal } = {}) {
  for (let tries = 0; ; ) {
    const all = { ...headers };
    if (json !== undefined) all['Content-Type'] = 'application/json';
    if (type) all['Content-Type'] = type;
    if (key.get()) all.Authorization = `Bearer ${key.get()}`;
    let response;
    try {
      response = await fetch(path, { method, headers: all, signal, body: json === undefined ? body : JSON.stringify(json) });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Error('The server does not answer.');
    }
    if (response.ok) return response;
    if (await isTriedAgain(response, tries++)) continue;
    const error = await refusal(response);
    if (response.status !== 401 || !(await askForKey())) throw error;
  }
}

export async function get(path) {
  return (await ask('GET', path)).json();
}

export async function post(path, json, options = {}) {
  return (await ask('POST', path, { json, ...options })).json();
}

// The objects of a stream of events, until [DONE].
export async function* events(path, json, signal) {
  const response = await ask('POST', path, { json: { ...json, stream: true }, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const parts = rest.split('\n\n');
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split('\n').filter((line) => line.startsWith('data: ')).map((line) => line.slice(6)).join('\n');
      if (!data) continue;
      if (data === '[DONE]') return;
      const event = JSON.parse(data);
      if (event.error) throw new Refused(200, event.error);
      yield event;
    }
  }
}
