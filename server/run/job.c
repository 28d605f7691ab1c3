/* job.c: see job.h. */
#include "run/job.h"

#include <stdio.h>
#include <stdlib.h>

int job_open_choices(job *j, const names *words, problem *p) {
    size_t n = (size_t)j->request.n;
    j->choices = calloc(j->request.n_prompts * n, sizeof *j->choices);
    if (j->choices) j->n_choices = j->request.n_prompts * n;
    int opened = j->choices != NULL;
    for (size_t i = 0; opened && i < j->request.n_prompts; i++)
        opened = choice_open(&j->choices[i * n], &j->request, words, &j->request.prompts[i], j->from != NULL);
    return opened ? 1 : problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
}

static void leave_places(job *j) {
    if (j->places) places_give_back(j->places, (int)j->n_choices);
    j->places = NULL;
}

void job_free(job *j) {
    if (!j) return;
    leave_places(j);
    for (size_t i = 0; i < j->n_choices; i++) choice_free(&j->choices[i]);
    free(j->choices);
    completion_free(&j->request);
    il_session_close(j->from);
    il_session_close(j->kept);
    text_free(&j->session);
    text_free(&j->given);
    free(j);
}

void job_count(const job *j, size_t *prompt, size_t *answer) {
    *prompt = *answer = 0;
    for (size_t i = 0; i < j->request.n_prompts; i++) *prompt += j->request.prompts[i].tokens.n;
    for (size_t i = 0; i < j->n_choices; i++) *answer += j->choices[i].n;
}

void job_usage(const job *j, text *t) {
    size_t prompt, answer;
    job_count(j, &prompt, &answer);
    text_print(t,
               "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%zu}}",
               prompt, answer, prompt + answer, j->cached);
}

/* ---- its end ---- */

static void end_whole(job *j) {
    text body = {0};
    if (!j->problem.status) {
        j->form->whole(j, &body);
        if (body.failed) {
            text_free(&body);
            problem_set(&j->problem, 503, "no_memory", NULL, "no memory for the answer now");
        }
    }
    if (j->problem.status) problem_print(&j->problem, &body);
    const char *headers = j->headers;
    char again[sizeof j->headers + 32];
    if (j->problem.status) {
        snprintf(again, sizeof again, "%s%s", j->headers, problem_headers(&j->problem));
        headers = again;
    }
    http_answer(j->exchange, j->problem.status ? j->problem.status : j->status ? j->status : 200, headers, &body);
}

static void end_stream(job *j) {
    text last = {0};
    if (j->problem.status && j->form->failed) {
        j->form->failed(j, &last);
    } else if (j->problem.status) {
        text_say(&last, "data: ");
        problem_print(&j->problem, &last);
        text_say(&last, "\n\n");
    } else if (j->request.usage || j->session.bytes) {
        j->form->usage(j, &last);
    }
    if (!j->form->failed) text_say(&last, "data: [DONE]\n\n");
    if (!last.failed) http_write(j->exchange, last.data, last.bytes); /* without [DONE] it was cut */
    http_end(j->exchange);
    text_free(&last);
}

static void end(work_item *item) {
    job *j = (job *)item;
    leave_places(j); /* before the client hears of it, and asks again */
    if (j->ended) j->ended(j);
    if (j->begun)
        end_stream(j);
    else
        end_whole(j);
    job_free(j);
}

void job_end(job *j, work *w) {
    j->item.run = end;
    work_push(w, &j->item);
}
