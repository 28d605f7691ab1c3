/* sequence.c: see sequence.h. */
#include "sequence.h"

static int no_memory(job *j) {
    return problem_set(&j->problem, 503, "no_memory", NULL, "no memory for another answer now");
}

static void nonfinite(job *j) {
    problem_set(&j->problem, 500, "nonfinite", NULL, "the model's prediction is not finite");
}

static choice *choice_of(const sequence *q) { return &q->job->choices[q->choice]; }

int sequence_wants_prompt(const sequence *q) { return q->job->request.echo && q->job->request.logprobs >= 0; }

/* What it does next once so much of the prompt is read, and nothing was answered. */
static void go_on(sequence *q) {
    const il_tokens *prompt = q->prompt;
    if (q->fed + 1 < prompt->n) {
        q->phase = SEQUENCE_READS;
        return;
    }
    q->phase = q->fed < prompt->n ? SEQUENCE_WRITES : SEQUENCE_STANDS;
    if (q->phase == SEQUENCE_WRITES) q->token = prompt->ids[q->fed];
}

/* After its answer has ended. */
static void finish(sequence *q) {
    if (!choice_of(q)->finish) return;
    int reads = q->job->keep || q->job->request.embeds;
    q->phase = q->phase == SEQUENCE_WRITES && reads ? SEQUENCE_CLOSES : SEQUENCE_ENDS;
}

/* Whose answer has no tokens ends where it would be drawn. */
static void arrive(sequence *q) {
    go_on(q);
    if (q->phase == SEQUENCE_READS || q->job->request.tokens_max) return;
    choice_finish(choice_of(q), "length");
    finish(q);
    if (choice_of(q)->failed) no_memory(q->job);
}

/* The job's session, or a copy while other prompts need it too. */
static il_status open_session(job *j, il_model *model, il_session **session) {
    if (!j->from) return il_session_open(model, NULL, session, NULL);
    if (j->n_admitted + 1 < j->request.n_prompts) return il_session_fork(j->from, session, NULL);
    *session = j->from;
    j->from = NULL;
    return IL_OK;
}

int sequence_open(sequence *q, job *j, il_model *model, drawer *d) {
    size_t prompt = j->n_admitted;
    *q = (sequence){.job = j, .choice = prompt * (size_t)j->request.n, .prompt = &j->request.prompts[prompt].tokens};
    int status = open_session(j, model, &q->session);
    j->n_admitted++;
    if (status) return no_memory(j);
    q->forks = j->request.n - 1;
    if (sequence_wants_prompt(q) && q->prompt->n &&
        il_session_position(q->session)) { /* something predicts its first */
        if (il_session_logits(q->session, d->scratch, NULL) || !draw_record(d, choice_of(q), 0, d->scratch))
            nonfinite(j);
    }
    j->running++;
    arrive(q);
    return 1;
}

int sequence_fork(sequence *q, sequence *copy) {
    job *j = q->job;
    *copy = *q;
    copy->forks = 0;
    copy->choice = q->choice + (size_t)q->forks--;
    if (il_session_fork(q->session, &copy->session, NULL)) return no_memory(j);
    if (!choice_copy(&j->choices[copy->choice], choice_of(q))) no_memory(j);
    j->running++;
    return 1;
}

void sequence_close(sequence *q) {
    job *j = q->job;
    if (j->keep && !j->problem.status)
        j->kept = q->session;
    else
        il_session_close(q->session);
    q->session = NULL;
    j->running--;
}

int sequence_draw(const sequence *q, size_t row, float *logits, drawer *d) {
    size_t j = q->choice % (size_t)q->job->request.n;
    if (q->phase == SEQUENCE_READS) return draw_record(d, choice_of(q), q->fed + row + 1, logits);
    return draw(d, choice_of(q), q->prompt, j, il_session_position(q->session), logits);
}

void sequence_nonfinite(const sequence *q) { nonfinite(q->job); }

void sequence_add_hidden(const sequence *q, size_t n, const float *hidden) {
    double *sum = choice_of(q)->sum;
    size_t width = (size_t)q->job->request.embeds;
    for (size_t row = 0; row < n; row++)
        for (size_t i = 0; i < width; i++) sum[i] += (double)hidden[row * width + i];
}

void sequence_move(sequence *q, size_t n) {
    choice *c = choice_of(q);
    if (q->job->problem.status) return;
    switch (q->phase) {
    case SEQUENCE_READS:
        q->fed += n;
        arrive(q);
        break;
    case SEQUENCE_STANDS:
    case SEQUENCE_WRITES:
        q->token = c->tokens[c->n - 1];
        q->phase = SEQUENCE_WRITES;
        finish(q);
        if (c->failed) no_memory(q->job);
        break;
    case SEQUENCE_CLOSES:
    case SEQUENCE_ENDS: q->phase = SEQUENCE_ENDS; break;
    }
}
