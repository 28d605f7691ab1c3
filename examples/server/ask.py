#!/usr/bin/env python3
"""ask.py: the server by Python's standard library: a completion that streams, how surprising a text is, and a session that
reads it once and answers twice. usage: examples/server/ask.py URL [KEY]"""
import json
import sys
import urllib.request

URL, KEY = sys.argv[1], (sys.argv + ["none"])[2]


def ask(path, body=None):
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(URL + path, data, headers))


def events(path, body):
    for line in ask(path, {**body, "stream": True}):
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


for event in events("/v1/completions", {"prompt": "It was a dark", "max_tokens": 40, "seed": 7}):
    print(event["choices"][0]["text"], end="", flush=True)
print()

text = "It was a dark and stormy night; the rain fell in torrents."
session = json.load(ask("/v1/sessions", {"name": "night"}))["id"]
for event in events(f"/v1/sessions/{session}/feed", {"prompt": text, "logprobs": 0}):
    for token, nll in zip(event.get("logprobs", {}).get("tokens", []), event.get("nll", [])):
        print(f"{nll or 0:6.2f} nats  {token!r}")

for seed in 1, 2:  # the session stays where it is, so that both go on from the same text
    body = {"session": session, "prompt": " Then", "max_tokens": 20, "seed": seed}
    answer = json.load(ask("/v1/completions", body))
    print(f"{answer['usage']['prompt_tokens']} tokens read:", answer["choices"][0]["text"])
