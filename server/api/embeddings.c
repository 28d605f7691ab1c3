/* embeddings.c: see embeddings.h. */
#include "api/embeddings.h"

#include <string.h>

static const char *const known[] = {"model", "input", "encoding_format", "dimensions", "user", "add_special_tokens"};

int embeddings_parse(const json_t *body, int width, const completion_limits *limits, completion_request *r,
                     problem *p) {
    const char *format = "float";
    size_t bytes = strlen(format);
    *r = (completion_request){.n = 1, .special = 1, .logprobs = -1, .embeds = width, .sampling.repeat_penalty = 1};
    json_text_field(body, "encoding_format", &format, &bytes, p);
    json_flag_field(body, "add_special_tokens", &r->special, p);
    r->base64 = bytes == 6 && !memcmp(format, "base64", 6);
    if (!r->base64 && (bytes != 5 || memcmp(format, "float", 5) != 0))
        problem_set(p, 400, "invalid_value", "encoding_format", "encoding_format must be float or base64");
    if (json_field(body, "dimensions"))
        problem_set(p, 400, "unsupported_parameter", "dimensions",
                    "this model's embeddings have %d dimensions, no others", width);
    if (p->status || !completion_prompts(body, "input", limits, r, p)) return 0;
    completion_ignored(body, known, sizeof known / sizeof *known, r);
    return 1;
}

/* As 32-bit numbers, the lowest byte first. */
static void add_base64(const float *x, size_t n, text *t) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const size_t bytes = n * 4;
    for (size_t at = 0; at < bytes; at += 3) {
        uint32_t three = 0;
        for (size_t i = 0; i < 3; i++) {
            uint32_t bits = 0;
            if (at + i < bytes) memcpy(&bits, &x[(at + i) / 4], sizeof bits);
            three = three << 8 | (bits >> (at + i) % 4 * 8 & 0xFF);
        }
        char four[4];
        for (size_t i = 0; i < 4; i++) four[i] = at + i <= bytes ? digits[three >> (18 - 6 * i) & 63] : '=';
        text_add(t, four, sizeof four);
    }
}

static void add_embedding(const job *j, size_t index, text *t) {
    const double *sum = j->choices[index].sum;
    const double tokens = (double)j->request.prompts[index].tokens.n;
    const size_t width = (size_t)j->request.embeds;
    text_print(t, "{\"object\":\"embedding\",\"index\":%zu,\"embedding\":%s", index, j->request.base64 ? "\"" : "[");
    for (size_t at = 0; at < width;) { /* 48 numbers are 64 times 4 digits of base64 */
        float x[48];
        size_t n = 0;
        for (; n < 48 && at < width; n++) x[n] = (float)(sum[at++] / tokens);
        if (j->request.base64) add_base64(x, n, t);
        for (size_t i = 0; i < n && !j->request.base64; i++) text_print(t, at - n + i ? ",%.9g" : "%.9g", (double)x[i]);
    }
    text_say(t, j->request.base64 ? "\"}" : "]}");
}

static void whole(const job *j, text *t) {
    size_t tokens = 0;
    text_say(t, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < j->n_choices; i++) {
        if (i) text_say(t, ",");
        add_embedding(j, i, t);
        tokens += j->request.prompts[i].tokens.n;
    }
    text_say(t, "],\"model\":");
    text_quote(t, j->model, strlen(j->model));
    text_print(t, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}}", tokens, tokens);
}

const job_form embeddings_form = {.whole = whole}; /* never streamed */
