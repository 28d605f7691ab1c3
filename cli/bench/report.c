/* report.c: see report.h. */
#include "bench/report.h"
#include "bench/chart.h"
#include "output.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How the page names and colours a mixer, those first that have a colour of their own. */
typedef struct look {
    const char *mixer, *label, *class;
} look;
static const look looks[] = {{"self_attention", "Transformer", "transformer"},
                             {"ttt_mlp", "TTT-MLP", "mlp"},
                             {"ttt_linear", "TTT-Linear", "ttt"}};
enum { LOOKS = sizeof looks / sizeof *looks };

/* Of the mixer to draw k-th; all NULL when there are no more. A list of layers is a mixer here. */
static look look_at(const bench_report *r, int k) {
    if (k < LOOKS) return looks[k];
    for (size_t i = 0; i < r->n; i++) {
        const char *mixer = r->rows[i].mixer;
        int known = !mixer;
        for (int l = 0; l < LOOKS && !known; l++) known = !strcmp(looks[l].mixer, mixer);
        for (size_t before = 0; before < i && !known; before++)
            known = r->rows[before].mixer && !strcmp(r->rows[before].mixer, mixer);
        if (!known && k-- == LOOKS) return (look){mixer, strchr(mixer, ',') ? "mixed layers" : mixer, "other"};
    }
    return (look){0};
}

/* ---- table ---- */

/* "x" with so many digits after the point, or a dash for what is not known. */
static const char *number(char *text, size_t size, const char *format, double value) {
    if (isfinite(value) && value > 0) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, size, format, value);
#pragma GCC diagnostic pop
    } else {
        snprintf(text, size, "-");
    }
    return text;
}

void bench_print_row(const bench_report *r, const bench_row *row) {
    char context[24] = "-", bytes[32], limit[96] = "-", joules[32];
    if (row->context) snprintf(context, sizeof context, "%" PRIu64, row->context);
    printf("%-8s %-*s %-5s %8s ", row->workload, r->mixer_width, row->mixer ? row->mixer : "-", row->dtype, context);
    if (!row->n) {
        printf("left out: %s\n", row->reason);
        return;
    }
    if (row->median.fraction > 0)
        snprintf(limit, sizeof limit, "%.3f (%.3f .. %.3f) of %.1f %s", row->median.fraction, row->fraction_least,
                 row->fraction_most, row->median.limit, row->unit);
    printf("%10.1f %10.1f .. %-10.1f %12.1f %9s %8s  %s\n", row->median.rate, row->samples[0].rate,
           row->samples[row->n - 1].rate, row->count.flops * 1e-6,
           number(bytes, sizeof bytes, "%.1f", row->count.bytes * 1e-6),
           number(joules, sizeof joules, "%.3f", row->joules), limit);
}

void bench_print_no_energy(const bench_report *r) {
    if (r->no_energy[0]) printf("joules: %s\n", r->no_energy);
}

void bench_print_head(const bench_report *r) {
    char peer[64];
    printf("%s, %s, %s%s%s\n", r->cpu, r->kernels, cli_count((uint64_t)r->threads, "thread"),
           r->preset ? "; preset " : "", r->preset ? r->preset : "");
    printf("limits: our product %.1f GFLOP/s, oneDNN %s, bf16 %s, int8 %s, ", r->limits.gflops_kernel,
           number(peer, sizeof peer, "%.1f GFLOP/s", r->limits.gflops_onednn),
           number((char[32]){0}, 32, "%.1f GFLOP/s", r->limits.gflops_bf16_onednn),
           number((char[32]){0}, 32, "%.1f Gop/s", r->limits.gops_int8_onednn));
    printf("memory read %.1f GB/s, L2 %.1f GB/s\n", r->limits.read_gb_s, r->limits.l2_read_gb_s);
    bench_print_no_energy(r);
    printf("\n%-8s %-*s %-5s %8s %10s %10s .. %-10s %12s %9s %8s  %s\n", "workload", r->mixer_width, "mixer", "dtype",
           "context", "tokens/s", "least", "most", "MFLOP/token", "MB/token", "J/token", "of limit");
}

/* ---- JSON ---- */

static json_t *positive(double value) { return value > 0 ? cli_json_real(value) : json_null(); }

static json_t *row_json(const bench_row *row) {
    json_t *object = json_object(), *samples = json_array(), *fractions = json_array();
    for (uint64_t i = 0; i < row->n; i++) {
        json_array_append_new(samples, json_real(row->samples[i].rate));
        if (row->median.fraction > 0) json_array_append_new(fractions, json_real(row->samples[i].fraction));
    }
    json_object_set_new(object, "work", json_string(row->workload));
    json_object_set_new(object, "mixer", cli_json_string(row->mixer));
    json_object_set_new(object, "dtype", json_string(row->dtype));
    json_object_set_new(object, "context", row->context ? json_integer((json_int_t)row->context) : json_null());
    json_object_set_new(object, "sessions", json_integer((json_int_t)row->sessions));
    json_object_set_new(object, "tokens_per_s", positive(row->median.rate));
    json_object_set_new(object, "samples", samples);
    json_object_set_new(object, "flops_per_token", json_real(row->count.flops));
    json_object_set_new(object, "bytes_per_token", positive(row->count.bytes));
    json_object_set_new(object, "limit_unit", json_string(row->unit));
    json_object_set_new(object, "limit_bytes", positive(row->limit_bytes));
    json_object_set_new(object, "limit", positive(row->median.limit));
    json_object_set_new(object, "fraction_of_limit", positive(row->median.fraction));
    json_object_set_new(object, "fractions", fractions);
    json_object_set_new(object, "joules_per_token", cli_json_real(row->joules));
    json_object_set_new(object, "state_bytes",
                        row->state_bytes ? json_integer((json_int_t)row->state_bytes) : json_null());
    json_object_set_new(object, "reason", row->n ? json_null() : cli_json_string(row->reason));
    return object;
}

json_t *bench_json(const bench_report *r) {
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n; i++) json_array_append_new(rows, row_json(&r->rows[i]));
    const il_limits *l = &r->limits;
    return json_pack("{s:o, s:s, s:i, s:s?, s:b, s:{s:f, s:o, s:o, s:o, s:f, s:f}, s:{s:o, s:o}, s:o}", "cpu",
                     cli_json_string(r->cpu), "kernels", r->kernels, "threads", r->threads, "preset", r->preset,
                     "all_logits", r->all_logits, "limits", "gflops_kernel", l->gflops_kernel, "gflops_onednn",
                     positive(l->gflops_onednn), "gflops_bf16_onednn", positive(l->gflops_bf16_onednn),
                     "gops_int8_onednn", positive(l->gops_int8_onednn), "read_gb_s", l->read_gb_s, "l2_read_gb_s",
                     l->l2_read_gb_s, "energy", "powercap", cli_json_string(r->powercap), "reason",
                     cli_json_string(r->no_energy[0] ? r->no_energy : NULL), "rows", rows);
}

/* ---- CSV (RFC 4180) ---- */

static void put_text(FILE *out, const char *text, const char *after) {
    fputc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"') fputc('"', out);
        fputc(*c, out);
    }
    fprintf(out, "\"%s", after);
}

/* An empty field for what is not known. */
static void put_number(FILE *out, double value, const char *after) {
    if (isfinite(value) && value > 0) fprintf(out, "%.9g", value);
    fputs(after, out);
}

void bench_write_csv(FILE *out, const bench_report *r) {
    fputs("cpu,kernels,threads,preset,work,mixer,dtype,context,sessions,tokens_per_s,least,most,flops_per_token,"
          "bytes_per_token,limit_unit,limit,fraction_of_limit,fraction_least,fraction_most,joules_per_token,state_"
          "bytes,reason\r\n",
          out);
    for (size_t i = 0; i < r->n; i++) {
        const bench_row *row = &r->rows[i];
        put_text(out, r->cpu, ",");
        fprintf(out, "%s,%d,%s,%s,", r->kernels, r->threads, r->preset ? r->preset : "", row->workload);
        put_text(out, row->mixer ? row->mixer : "", ","); /* a list of layers holds commas */
        fprintf(out, "%s,", row->dtype);
        put_number(out, (double)row->context, ",");
        put_number(out, (double)row->sessions, ",");
        put_number(out, row->median.rate, ",");
        put_number(out, row->n ? row->samples[0].rate : 0, ",");
        put_number(out, row->n ? row->samples[row->n - 1].rate : 0, ",");
        put_number(out, row->count.flops, ",");
        put_number(out, row->count.bytes, ",");
        fprintf(out, "%s,", row->unit);
        put_number(out, row->median.limit, ",");
        put_number(out, row->median.fraction, ",");
        put_number(out, row->fraction_least, ",");
        put_number(out, row->fraction_most, ",");
        if (isfinite(row->joules)) fprintf(out, "%.9g", row->joules);
        fputc(',', out);
        put_number(out, (double)row->state_bytes, ",");
        put_text(out, row->reason, "\r\n");
    }
}

/* ---- the page ---- */

enum { WIDTH = 488, HEIGHT = 340, LABEL_ROOM = 104 };

static double rate_of(const bench_row *row) { return row->median.rate; }
static double milliseconds_of(const bench_row *row) { return row->median.rate > 0 ? 1e3 / row->median.rate : 0; }
static double megabytes_of(const bench_row *row) { return (double)row->state_bytes * 1e-6; }

/* A line for each mixer: a value of each of its rows of this workload; nothing is drawn where there are none. */
static void figure(FILE *out, const bench_report *r, const char *title, const char *y_label, const char *y_unit,
                   const char *workload, double (*value)(const bench_row *), const char *caption) {
    chart c = {.title = title,
               .x_label = "tokens read before (context)",
               .y_label = y_label,
               .y_unit = y_unit,
               .width = WIDTH,
               .height = HEIGHT,
               .label_room = LABEL_ROOM,
               .log_x = 1,
               .log_y = 1};
    double *xy = cli_alloc(2 * CHART_LINES_MAX * (r->n + 1), sizeof *xy);
    for (int k = 0; look_at(r, k).mixer && c.n_lines < CHART_LINES_MAX; k++) {
        const look drawn = look_at(r, k);
        double *x = xy + 2 * c.n_lines * (r->n + 1), *y = x + r->n + 1;
        chart_line line = {.label = drawn.label, .class = drawn.class, .x = x, .y = y, .points = 1};
        for (size_t i = 0; i < r->n; i++) {
            const bench_row *row = &r->rows[i];
            if (!row->mixer || strcmp(row->mixer, drawn.mixer) != 0 || strcmp(row->workload, workload) != 0) continue;
            if (value(row) <= 0) continue;
            x[line.n] = (double)row->context;
            y[line.n++] = value(row);
        }
        if (line.n) c.lines[c.n_lines++] = line;
    }
    if (c.n_lines) chart_figure(out, &c, caption);
    free(xy);
}

static int has(const bench_report *r, const char *workload) {
    for (size_t i = 0; i < r->n; i++)
        if (!strcmp(r->rows[i].workload, workload)) return 1;
    return 0;
}

static void table(FILE *out, const bench_report *r) {
    fputs("<div "
          "class=\"wide\"><table><tr><th>workload</th><th>mixer</th><th>weights</th><th>context</th><th>sessions</"
          "th><th>tokens/s</"
          "th><th>least .. most"
          "</th><th>MFLOP a token</th><th>MB a token</th><th>of the limit</th><th>J a token</th><th>state, "
          "MB</th></tr>\n",
          out);
    for (size_t i = 0; i < r->n; i++) {
        const bench_row *row = &r->rows[i];
        char text[64];
        fprintf(out, "<tr><td>%s</td><td>%s</td><td>%s</td><td>%s</td><td>%" PRIu64 "</td>", row->workload,
                row->mixer ? row->mixer : "-", row->dtype, number(text, sizeof text, "%.0f", (double)row->context),
                row->sessions);
        if (!row->n) {
            fputs("<td colspan=\"7\" class=\"soft\">left out: ", out);
            chart_text(out, row->reason, 0);
            fputs("</td></tr>\n", out);
            continue;
        }
        fprintf(out, "<td>%.1f</td><td>%.1f .. %.1f</td><td>%.1f</td><td>%s</td>", row->median.rate,
                row->samples[0].rate, row->samples[row->n - 1].rate, row->count.flops * 1e-6,
                number(text, sizeof text, "%.1f", row->count.bytes * 1e-6));
        fprintf(out, "<td>%s", number(text, sizeof text, "%.3f", row->median.fraction));
        if (row->median.fraction > 0)
            fprintf(out, " (%.3f .. %.3f) of %.1f %s", row->fraction_least, row->fraction_most, row->median.limit,
                    row->unit);
        fprintf(out, "</td><td>%s</td>", number(text, sizeof text, "%.3f", row->joules));
        fprintf(out, "<td>%s</td></tr>\n", number(text, sizeof text, "%.2f", megabytes_of(row)));
    }
    fputs("</table></div>\n", out);
}

void bench_write_html(FILE *out, const bench_report *r) {
    char text[64];

    fprintf(out, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                 "content=\"width=device-width,initial-scale=1\">\n<title>innerloop bench</title>\n");
    chart_page_style(out);
    fprintf(out, "<h1>What a token costs, by context</h1>\n<p class=\"soft\">");
    chart_text(out, r->cpu, 0);
    fprintf(out,
            ", %s kernels, %s, %s%srandom weights. Limits of this machine in the same run: our product "
            "%.1f GFLOP/s, ",
            r->kernels, cli_count((uint64_t)r->threads, "thread"), r->preset ? r->preset : "",
            r->preset ? " preset, " : "", r->limits.gflops_kernel);
    fprintf(out, "oneDNN %s, ", number(text, sizeof text, "%.1f GFLOP/s", r->limits.gflops_onednn));
    fprintf(out, "bf16 %s, ", number(text, sizeof text, "%.1f GFLOP/s", r->limits.gflops_bf16_onednn));
    fprintf(out, "int8 %s, ", number(text, sizeof text, "%.1f Gop/s", r->limits.gops_int8_onednn));
    fprintf(out, "memory read %.1f GB/s, second-level caches %.1f GB/s.</p>\n<div class=\"grid2\">\n",
            r->limits.read_gb_s, r->limits.l2_read_gb_s);
    figure(out, r, "Time of one more token", "milliseconds, lower is better", " ms", "decode", milliseconds_of,
           "A token at a time with a row of logits each, after so many tokens.");
    figure(out, r, "Memory of one session", "megabytes of state, lower is better", " MB",
           has(r, "decode") ? "decode" : "prefill", megabytes_of, "What a session holds after so many tokens.");
    figure(out, r, "Reading 256 more tokens", "tokens/s, higher is better", " tokens/s", "extend", rate_of,
           "All at once, after so many tokens.");
    figure(out, r, "Reading a whole text", "tokens/s, higher is better", " tokens/s", "prefill", rate_of,
           "From the first token to the last, one row of logits.");
    figure(out, r, "Sessions side by side", "tokens/s of all, higher is better", " tokens/s", "batch", rate_of,
           "A token at a time for each session, one pass over the weights for all.");
    figure(out, r, "Training", "tokens/s, higher is better", " tokens/s", "train", rate_of,
           "A step on one sequence of so many tokens, optimizer included.");
    fprintf(out, "</div>\n<h2>All rows</h2>\n");
    table(out, r);
    if (r->no_energy[0]) {
        fprintf(out, "<p class=\"soft\">No joules: ");
        chart_text(out, r->no_energy, 0);
        fprintf(out, "</p>\n");
    }
    fprintf(out, "</html>\n");
}
