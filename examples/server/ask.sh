#!/bin/sh
# ask.sh: the server by curl: a completion, one that streams, and a session that reads, is forked and goes on.
# usage: examples/server/ask.sh URL [KEY]
set -eu
url=$1
ask() { # METHOD PATH [BODY]
    curl -sS --fail-with-body -N -X "$1" -H "Authorization: Bearer ${key:-none}" -H 'Content-Type: application/json' "$url$2" ${3+-d "$3"}
}
key=${2-}

ask POST /v1/completions '{"prompt": "It was a dark", "max_tokens": 20, "seed": 7}'
echo
ask POST /v1/completions '{"prompt": "It was a dark", "max_tokens": 20, "seed": 7, "stream": true}'

session=$(ask POST /v1/sessions '{"name": "night", "prompt": "It was a dark and stormy night."}' | sed 's/^{"id":"\([^"]*\)".*/\1/')
fork=$(ask POST "/v1/sessions/$session/fork" '{"name": "what if"}' | sed 's/.*"id":"\([^"]*\)".*/\1/')
ask POST /v1/completions "{\"session\": \"$fork\", \"keep\": true, \"prompt\": \" Suddenly\", \"max_tokens\": 20}"
echo
ask GET "/v1/sessions/$session/state" >"${TMPDIR:-/tmp}/night.ilstate" # the memory of the text, for any server of this model
ask DELETE "/v1/sessions/$session"
echo
