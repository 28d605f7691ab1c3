// ask.mjs: the server by JavaScript's fetch, in Node or in a page (serve --cors ORIGIN): a completion that streams, and a
// chat. usage: node examples/server/ask.mjs URL [KEY]

const [url, key = 'none'] = process.argv.slice(2);

async function ask(path, body) {
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  return answer;
}

async function* events(path, body) {
  let rest = '';
  for await (const piece of (await ask(path, { ...body, stream: true })).body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + piece).split('\n\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data: {')) yield JSON.parse(line.slice(6));
  }
}

for await (const event of events('/v1/completions', { prompt: 'It was a dark', max_tokens: 40, seed: 7 })) {
  process.stdout.write(event.choices[0].text);
}
console.log();

const chat = await ask('/v1/chat/completions', { messages: [{ role: 'user', content: 'Who was it?' }], max_tokens: 20 });
console.log((await chat.json()).choices[0].message.content);
