/* test_cli_chat.c: the verb chat: turns are read once and only once, whatever is forked, taken back, saved and loaded;
 * what is typed, in a script and on a terminal; and what the files beside a model say of writing, in generate too. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static json_t *fixtures;

/* Folder NAME: a small random model with a tokenizer and template of the fixtures. */
static void make_model(const char *kind, const char *dir) {
    size_t i;
    json_t *object, *found = NULL;
    char path[100];
    json_array_foreach(json_object_get(fixtures, "kinds"), i, object) {
        if (!strcmp(support_string(object, "name"), kind)) found = object;
    }
    assert_non_null(found);
    assert_int_equal(json_dump_file(json_object_get(found, "tokenizer"), "tokenizer.json", 0), 0);
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer tokenizer.json --seed 5 --out %s",
                      SUPPORT_SHAPE, dir));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    assert_int_equal(json_dump_file(json_object_get(found, "tokenizer_config"), path, 0), 0);
    snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
    const char *template = support_string(found, "template");
    support_write(path, template, strlen(template));
}

/* c: chatml; q: with thoughts; m: a model of bytes without a template. */
static int begin(void **state) {
    json_error_t why;
    fixtures = json_load_file(FIXTURES "/chat.json", 0, &why);
    if (!fixtures || support_cli_begin(state)) return 1;
    make_model("chatml", "c");
    make_model("think_unless_asked", "q");
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    return 0;
}

static int end(void **state) {
    json_decref(fixtures);
    return support_cli_end(state);
}

/* ---- scripts ---- */

/* What a script gives with --json: its objects, as an array. */
static json_t *talk(const char *script, const char *arguments) {
    support_run run = support_cli(script, "chat --json --max-tokens 12 %s", arguments);
    if (run.code) fail_msg("chat %s: status %d: %s", arguments, run.code, run.err);
    json_t *list = json_array();
    for (char *at = run.out; *at;) {
        json_error_t where;
        size_t n = strcspn(at, "\n");
        json_t *object = json_loadb(at, n, JSON_ALLOW_NUL, &where);
        if (!object) fail_msg("chat %s: %s: %s", arguments, where.text, at);
        json_array_append_new(list, object);
        at += n + (at[n] == '\n');
    }
    support_run_free(&run);
    return list;
}

static const json_t *at(const json_t *list, size_t i) {
    const json_t *object = json_array_get(list, i);
    if (!object) fail_msg("only %zu objects", json_array_size(list));
    return object;
}

static void same_answer(const json_t *a, const json_t *b) {
    static const char *const keys[] = {"text", "tokens", "position", "finish"};
    for (size_t i = 0; i < 4; i++)
        if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
            fail_msg("%s: %s\nand %s", keys[i], json_dumps(a, 0), json_dumps(b, 0));
}

/* How many tokens a text is, special tokens in it too. */
static size_t tokens_of(const char *dir, const char *text) {
    json_t *document = json_pack("[s]", text);
    assert_int_equal(json_dump_file(document, "text.json", 0), 0);
    json_decref(document);
    char *out = support_done("tokenize --tokenizer %s/tokenizer.json --ids --special text.json", dir);
    json_error_t why;
    json_t *ids = json_loads(out, 0, &why);
    size_t n = json_array_size(ids);
    json_decref(ids);
    free(out);
    return n;
}

static void test_a_turn_costs_its_own_tokens(void **state) {
    static const char *const asked[] = {"Hello", "And then? <|im_end|>", "a  b"};
    (void)state;
    json_t *list = talk("Hello\n\nAnd then? <|im_end|>\na  b", "--model c");
    double position = 0;
    assert_int_equal(json_array_size(list), 3);
    for (size_t i = 0; i < 3; i++) {
        char text[300];
        const json_t *turn = at(list, i);
        snprintf(text, sizeof text, "%s<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n",
                 i ? "" : "<|im_start|>system\nYou are a parrot, and it's \"Polly\".<|im_end|>\n", asked[i]);
        size_t prompt = tokens_of("c", text), tokens = (size_t)support_number(turn, "tokens");
        if (i == 1)
            assert_true(support_number(turn, "prompt_tokens") > (double)prompt); /* what was typed is text */
        else
            assert_int_equal(support_number(turn, "prompt_tokens"), prompt);
        double all = support_number(turn, "prompt_tokens") + (double)tokens + 2; /* <|im_end|> and a line end */
        assert_true(support_number(turn, "evaluated") == all);
        assert_true(support_number(turn, "position") == position + all);
        position += all;
        assert_string_equal(support_string(turn, "kind"), "turn");
        assert_string_equal(support_string(turn, "branch"), "main");
        assert_int_equal(support_number(turn, "turn"), i + 1);
        assert_true(json_is_null(json_object_get(turn, "thought")));
    }
    json_decref(list);
}

static void test_a_system_message(void **state) {
    (void)state;
    json_t *none = talk("Hi", "--model c"), *own = talk("Hi", "--model c --system 'Be brief.'");
    json_t *typed = talk("/system   Be brief. \nHi\n", "--model c"), *empty = talk("Hi\n", "--model c --system ''");
    same_answer(at(own, 0), at(typed, 0));
    double own_tokens = support_number(at(own, 0), "prompt_tokens");
    assert_true(own_tokens != support_number(at(none, 0), "prompt_tokens"));
    assert_true(own_tokens > support_number(at(empty, 0), "prompt_tokens"));
    json_t *late = talk("Hi\n/system Sing.\nHi\nHi\n", "--model c");
    double with = support_number(at(late, 1), "prompt_tokens"), without = support_number(at(late, 2), "prompt_tokens");
    assert_int_equal(with - without, tokens_of("c", "<|im_start|>system\nSing.<|im_end|>\n"));
    json_decref(none);
    json_decref(own);
    json_decref(typed);
    json_decref(empty);
    json_decref(late);
}

/* Taken back, forked, saved and loaded, a conversation goes on as if nothing had been. */
static void test_ways_to_the_same_place(void **state) {
    (void)state;
    json_t *plain = talk("One\nTwo\nThree\n", "--model c --save straight.ilstate");
    json_t *back = talk("One\nX\nY\n/rewind 2\nTwo\nZ\n/rewind\nThree\n/stats\n", "--model c --save back.ilstate");
    same_answer(at(plain, 1), at(back, 3));
    same_answer(at(plain, 2), at(back, 5));
    double evaluated = 0; /* going back costs nothing */
    for (size_t i = 0; i < 6; i++) evaluated += support_number(at(back, i), "evaluated");
    assert_true(evaluated == support_number(at(back, 6), "evaluated"));
    assert_true(support_number(at(back, 6), "state_bytes") > 0);
    assert_int_equal(support_number(at(back, 6), "turns"), 3);
    support_same_files("straight.ilstate", "back.ilstate");

    json_t *forked = talk("One\n/fork a\nTwo\n/switch main\nX\n/switch a\nThree\n/fork\n/branches\n", "--model c");
    same_answer(at(plain, 1), at(forked, 1));
    same_answer(at(plain, 2), at(forked, 3));
    assert_string_equal(support_string(at(forked, 1), "branch"), "a");
    const json_t *branches = json_object_get(at(forked, 4), "branches");
    assert_int_equal(json_array_size(branches), 3);
    assert_string_equal(support_string(json_array_get(branches, 2), "branch"), "3");
    assert_int_equal(support_number(json_array_get(branches, 0), "turns"), 2);

    json_t *saved = talk("One\nTwo\n/save s.ilstate\nX\n", "--model c");
    json_t *loaded = talk("/history\nThree\n/rewind\nThree\n", "--model c --load s.ilstate");
    assert_int_equal(json_array_size(json_object_get(at(loaded, 0), "turns")), 2);
    assert_string_equal(support_string(json_array_get(json_object_get(at(loaded, 0), "turns"), 1), "user"), "Two");
    same_answer(at(plain, 2), at(loaded, 1));
    same_answer(at(plain, 2), at(loaded, 2));
    json_t *inside = talk("X\n/load s.ilstate\nThree\n/save\n", "--model c --save end.ilstate");
    same_answer(at(plain, 2), at(inside, 1));
    support_same_files("straight.ilstate", "end.ilstate");
    support_same_files("straight.ilstate", "s.ilstate");
    json_t *anew = talk("X\n/clear\nOne\n", "--model c");
    same_answer(at(plain, 0), at(anew, 1));
    json_decref(plain);
    json_decref(back);
    json_decref(forked);
    json_decref(saved);
    json_decref(loaded);
    json_decref(inside);
    json_decref(anew);

    support_run run = support_cli("/rewind", "chat --model c --load s.ilstate");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.err, "1 turn cannot be taken back: there are 0 since the conversation was loaded"));
    support_run_free(&run);
}

static void test_another_answer(void **state) {
    (void)state;
    json_t *list = talk("One\n/regen\n/regen\n", "--model c --temperature 2"),
           *other = talk("One\n", "--model c --temperature 2 --seed 1");
    assert_false(json_equal(json_object_get(at(list, 0), "text"), json_object_get(at(list, 1), "text")));
    assert_int_equal(support_number(at(list, 2), "turn"), 1);
    same_answer(at(list, 1), at(other, 0));
    json_decref(list);
    json_decref(other);
}

static void test_a_file_is_read(void **state) {
    (void)state;
    char *book = support_book(3, 3000), script[4000];
    json_t *list = talk("/read book.txt\nWhat?\n/history\n", "--model c");
    assert_string_equal(support_string(at(list, 0), "kind"), "read");
    assert_true(json_is_null(json_object_get(at(list, 0), "text")));
    assert_true(support_number(at(list, 0), "position") == support_number(at(list, 0), "prompt_tokens"));
    assert_string_equal(support_string(json_array_get(json_object_get(at(list, 2), "turns"), 0), "file"), "book.txt");
    /* it is as if it had been said, and nothing been answered */
    snprintf(script, sizeof script, "\"\"\"%s\"\"\"\n", book);
    json_t *said = talk(script, "--model c");
    assert_true(support_number(at(said, 0), "prompt_tokens") > support_number(at(list, 0), "prompt_tokens"));
    json_decref(said);
    json_decref(list);
    free(book);
    /* a state that has read it, by another verb */
    free(support_done("read --model c --save-state book.ilstate book.txt"));
    json_t *after = talk("What?\n/stats\n", "--model c --load book.ilstate");
    assert_int_equal(support_number(at(after, 0), "prompt_tokens"),
                     tokens_of("c", "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n"));
    assert_int_equal(support_number(at(after, 1), "turns"), 1);
    json_decref(after);
}

/* ---- what is typed ---- */

static void test_lines(void **state) {
    (void)state;
    json_t *list = talk("//x\n\"\"\"a\nb\n/c\"\"\"\nd\r\n   \n\"\"\"/quit\n", "--model c"), *turns;
    json_t *history = talk("//x\n\"\"\"a\nb\n/c\"\"\"\nd\r\n   \n/history\n/quit\nnot said", "--model c");
    assert_int_equal(json_array_size(list), 4); /* what is open at the end is said */
    assert_int_equal(json_array_size(history), 4);
    turns = json_object_get(at(history, 3), "turns");
    assert_string_equal(support_string(json_array_get(turns, 0), "user"), "/x");
    assert_string_equal(support_string(json_array_get(turns, 1), "user"), "a\nb\n/c");
    assert_string_equal(support_string(json_array_get(turns, 2), "user"), "d");
    json_decref(list);
    json_decref(history);

    support_write("bytes", "a\0b\xFF\n/history\n", 14);
    support_run run = support_cli(NULL, "chat --model c --max-tokens 0 --json --prompt x");
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    FILE *script = popen(INNERLOOP " chat --model c --max-tokens 0 --json < bytes 2> err", "r");
    char text[4000];
    size_t n = fread(text, 1, sizeof text - 1, script);
    text[n] = 0;
    assert_int_equal(pclose(script), 0);
    assert_non_null(strstr(text, "\"user\":\"a\\u0000b\xEF\xBF\xBD\""));

    char *line = malloc(1 << 20);
    assert_non_null(line);
    memset(line, 'x', 1 << 20);
    line[(1 << 20) - 1] = 0;
    memset(line + 1000, ' ', 3000);
    line[8000] = 0;
    list = talk(line, "--model c");
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    free(line);
}

static void test_standard_output_is_what_was_answered(void **state) {
    (void)state;
    json_t *list = talk("One\n", "--model c");
    support_run run = support_cli("One\n/system x\n/rewind\n/think on", "chat --model c --max-tokens 12");
    assert_int_equal(run.code, 1); /* what a script gets wrong ends it */
    assert_non_null(strstr(run.err, "innerloop chat: this model's chat template knows no thoughts\n"));
    const char *text = support_string(at(list, 0), "text");
    assert_true(run.out_bytes == strlen(text) + 1 && !memcmp(run.out, text, strlen(text)));
    assert_int_equal(run.out[run.out_bytes - 1], '\n');
    support_run_free(&run);
    json_decref(list);
}

static void test_misuse(void **state) {
    (void)state;
    static const struct {
        const char *script, *message;
    } cases[] = {{"/reed x", "unknown command /reed, did you mean /read"},
                 {"/nothinglikeit", "unknown command /nothinglikeit (/help"},
                 {"/read", "/read FILE"},
                 {"/read missing.txt", "missing.txt"},
                 {"/switch b", "there is no branch b"},
                 {"/fork main", "there is a branch main already"},
                 {"/fork a b", "a name is one word"},
                 {"/rewind", "1 turn cannot be taken back: there are 0"},
                 {"/rewind x", "/rewind N"},
                 {"/regen", "no answer to give again"},
                 {"/save", "/save FILE"},
                 {"/save missing/x.ilstate", "missing/x.ilstate"},
                 {"/save -", "/save FILE: standard output is for answers"},
                 {"/save c/model.safetensors", "/save c/model.safetensors: it is there, and is no state file"},
                 {"/save c", "/save c: it is there, and is no state file"},
                 {"/load missing.ilstate", "missing.ilstate"},
                 {"/stats now", "/stats takes nothing"},
                 {"/think maybe", "/think on or /think off"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        support_run run = support_cli(cases[i].script, "chat --model c");
        if (run.code != 1 || !strstr(run.err, cases[i].message))
            fail_msg("%s: status %d: %s", cases[i].script, run.code, run.err);
        assert_int_equal(run.out_bytes, 0);
        support_run_free(&run);
    }
    support_refused(1, "m: it has no chat template; --template names one", "chat --model m");
    char *long_template = calloc(1, 2 << 20);
    assert_non_null(long_template);
    support_write("m/chat_template.jinja", long_template, 2 << 20);
    support_refused(1, "more than 1 MiB are not read\n", "chat --model m"); /* no form that is named helps */
    assert_int_equal(unlink("m/chat_template.jinja"), 0);
    free(long_template);
    support_refused(1, "the tokenizer has no token <|im_start|>", "chat --model m --template chatml");
    support_refused(1, "knows no thoughts", "chat --model c --think on");
    support_refused(2, "--template: 'jinja' is not one of", "chat --model c --template jinja");
    support_refused(2, "--save and chat_template.jinja of --model are the same file",
                    "chat --model c --save c/chat_template.jinja");
    char *help = support_done("chat --help");
    assert_non_null(strstr(help, "--max-tokens"));
    free(help);
    char *commands = support_done("chat --model c --prompt x --max-tokens 0");
    free(commands);
    support_run run = support_cli("/help\n/template\n/history\n/branches\n/stats\n", "chat --model q");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "/rewind    [N]"));
    assert_non_null(strstr(run.out, "chatml, thinks unless asked not to\n"));
    assert_non_null(strstr(run.out, "* main: 0 turns, 0 tokens\n"));
    support_run_free(&run);
    run = support_cli("/fork \x9b\xff\n/branches\n/stats\n", "chat --model q");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, "* \\x9B\\xFF: 0 turns, 0 tokens\n"));
    assert_non_null(strstr(run.out, "branch \\x9B\\xFF: 0 turns, 0 tokens\n"));
    support_run_free(&run);
}

/* ---- thoughts ---- */

static void test_thoughts(void **state) {
    (void)state;
    json_t *usual = talk("Hi", "--model q"), *on = talk("Hi", "--model q --think on");
    json_t *off = talk("Hi", "--model q --think off"), *typed = talk("/think off\nHi\n/think on\n\nHi", "--model q");
    same_answer(at(usual, 0), at(on, 0));
    same_answer(at(off, 0), at(typed, 0));
    assert_true(json_is_null(json_object_get(at(off, 0), "thought")));
    assert_true(*support_string(at(on, 0), "thought") != 0); /* a random model does not come to an end of it */
    assert_string_equal(support_string(at(on, 0), "text"), "");
    assert_true(*support_string(at(off, 0), "text") != 0);
    double begin = (double)tokens_of("q", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    assert_true(support_number(at(on, 0), "prompt_tokens") == begin + (double)tokens_of("q", "<think>\n"));
    assert_true(support_number(at(off, 0), "prompt_tokens") ==
                begin + (double)tokens_of("q", "<think>\n\n</think>\n\n"));
    /* the thought is closed before the turn is */
    double ended = support_number(at(on, 0), "evaluated") - support_number(at(on, 0), "prompt_tokens") -
                   support_number(at(on, 0), "tokens");
    assert_true(ended == (double)tokens_of("q", "\n</think>\n\n<|im_end|>\n"));
    support_run run = support_cli("Hi", "chat --model q --max-tokens 12"); /* and is not what was answered */
    assert_int_equal(run.code, 0);
    assert_int_equal(run.out_bytes, 0);
    support_run_free(&run);
    json_decref(usual);
    json_decref(on);
    json_decref(off);
    json_decref(typed);
}

/* ---- what ends an answer, and how it is drawn ---- */

static void set_generation(const char *dir, const char *text) {
    char path[100];
    snprintf(path, sizeof path, "%s/generation_config.json", dir);
    support_write(path, text, strlen(text));
}

static void test_the_models_own_way(void **state) {
    char text[100];
    (void)state;
    char *kept = support_text_of("c/generation_config.json");
    json_t *greedy = support_json("generate --model c --prompt One --max-tokens 9 --temperature 0");
    json_t *hot = support_json("generate --model c --prompt One --max-tokens 9 --temperature 3 --top-k 7 --top-p 0.9 "
                               "--min-p 0 --repeat-penalty 1.5 --seed 4");
    json_t *chat = talk("One", "--model c --temperature 0");
    set_generation("c", "{\"do_sample\": false, \"temperature\": 0.7}");
    json_t *by_file = support_json("generate --model c --prompt One --max-tokens 9");
    json_t *chat_by_file = talk("One", "--model c");
    assert_true(json_equal(json_object_get(greedy, "ids"), json_object_get(by_file, "ids")));
    same_answer(at(chat, 0), at(chat_by_file, 0));
    json_decref(by_file);
    set_generation("c", "{\"temperature\": 3, \"top_k\": 7, \"top_p\": 0.9, \"repetition_penalty\": 1.5}");
    by_file = support_json("generate --model c --prompt One --max-tokens 9 --seed 4");
    assert_true(json_equal(json_object_get(hot, "ids"), json_object_get(by_file, "ids")));
    json_decref(by_file);
    by_file = support_json("generate --model c --prompt One --max-tokens 9 --temperature 0 --repeat-penalty 1");
    assert_true(json_equal(json_object_get(greedy, "ids"), json_object_get(by_file, "ids"))); /* overridden */
    json_t *inspected = support_json("inspect c");
    assert_true(support_number(inspected, "generation.temperature") == 3);
    assert_int_equal(support_number(inspected, "generation.top_k"), 7);
    assert_true(support_number(inspected, "generation.min_p") == 0);
    assert_string_equal(support_string(inspected, "chat.template"), "chatml");
    assert_string_equal(support_string(inspected, "chat.system"), "You are a parrot, and it's \"Polly\".");
    json_decref(inspected);

    /* whatever a file names ends a text, and a turn in good order */
    int third = (int)json_integer_value(json_array_get(json_object_get(greedy, "ids"), 3));
    snprintf(text, sizeof text, "{\"eos_token_id\": [0, %d], \"do_sample\": false}", third);
    set_generation("c", text);
    json_t *ended = support_json("generate --model c --prompt One --max-tokens 9");
    assert_string_equal(support_string(ended, "finish"), "eos");
    assert_true(support_number(ended, "tokens") <= 3);
    json_decref(ended);
    set_generation("c", "{\"eos_token_id\": 100000}");
    support_refused(1, "generation_config.json: eos_token_id", "chat --model c --prompt x");
    support_refused(1, "generation_config.json: eos_token_id", "generate --model c --prompt x");
    support_write("c/generation_config.json", kept, strlen(kept));
    inspected = support_json("inspect m");
    assert_true(json_is_null(json_object_get(json_object_get(inspected, "chat"), "template")));
    assert_non_null(strstr(support_string(inspected, "chat.why"), "no chat template"));
    json_decref(inspected);
    json_decref(by_file);
    json_decref(greedy);
    json_decref(hot);
    json_decref(chat);
    json_decref(chat_by_file);
    free(kept);
}

static void test_conversion_takes_them_along(void **state) {
    (void)state;
    char *kept = support_text_of("c/generation_config.json");
    set_generation("c", "{\"do_sample\": false, \"eos_token_id\": 9}");
    free(support_done("convert --model c --dtype bf16 --out converted"));
    support_same_files("c/chat_template.jinja", "converted/chat_template.jinja");
    support_same_files("c/tokenizer_config.json", "converted/tokenizer_config.json");
    free(support_done("convert --model converted --dtype int8 --out converted --force")); /* in its place, too */
    support_same_files("c/chat_template.jinja", "converted/chat_template.jinja");
    json_t *before = support_json("inspect c"), *after = support_json("inspect converted");
    assert_true(json_equal(json_object_get(before, "generation"), json_object_get(after, "generation")));
    assert_true(json_equal(json_object_get(before, "chat"), json_object_get(after, "chat")));
    assert_true(support_number(after, "generation.temperature") == 0);
    json_decref(before);
    json_decref(after);
    free(support_done("convert --model m --dtype bf16 --out converted --force"));
    assert_false(support_exists("converted/chat_template.jinja"));
    free(support_done("convert --model c --dtype bf16 --out converted --force"));
    free(support_done("init --preset tiny %s --tokenizer bytes --out converted --force", SUPPORT_SHAPE));
    assert_false(support_exists("converted/chat_template.jinja")); /* nor has a new model what an older one had */
    assert_false(support_exists("converted/tokenizer_config.json"));
    set_generation("c", "{\"top_k\": \"many\"}");
    support_refused(1, "c/generation_config.json: top_k must be", "convert --model c --dtype bf16 --out unusable");
    assert_false(support_exists("unusable"));
    support_write("c/generation_config.json", kept, strlen(kept));
    free(kept);
}

/* A fine-tuned model chats as the one before: from the directory of any of its checkpoints, and when it goes on. */
static void test_training_takes_them_along(void **state) {
    (void)state;
    char *kept = support_text_of("c/generation_config.json"), *form = support_text_of("c/chat_template.jinja");
    static const char text[] = "A man sat by the fire. The rain fell on the roof, and the dog slept on.\n";
    static char book[40 * sizeof text];
    for (int i = 0; i < 40; i++) strcat(book, text);
    support_write("tuning.txt", book, strlen(book));
    set_generation("c", "{\"do_sample\": false, \"eos_token_id\": 9}");
    static const char line[] =
        "train --model c --data tuning.txt --out tuned --steps 4 --save-every 2 --batch-tokens 64 "
        "--seq-len 32";
    free(support_done("%s", line));
    static const char *const checkpoints[] = {"tuned/step-2", "tuned/step-4", "tuned/latest"};
    for (size_t i = 0; i < sizeof checkpoints / sizeof *checkpoints; i++) {
        char path[60];
        snprintf(path, sizeof path, "%s/chat_template.jinja", checkpoints[i]);
        support_same_files("c/chat_template.jinja", path);
        snprintf(path, sizeof path, "%s/tokenizer_config.json", checkpoints[i]);
        support_same_files("c/tokenizer_config.json", path);
        snprintf(path, sizeof path, "%s/tokenizer.json", checkpoints[i]);
        support_same_files("c/tokenizer.json", path);
    }
    json_t *before = support_json("inspect c"), *after = support_json("inspect tuned/latest");
    assert_true(json_equal(json_object_get(before, "generation"), json_object_get(after, "generation")));
    assert_true(json_equal(json_object_get(before, "chat"), json_object_get(after, "chat")));
    json_decref(before);
    json_decref(after);
    json_decref(talk("hello\n", "--model tuned/latest"));
    assert_int_equal(unlink("c/chat_template.jinja"), 0); /* a run that goes on takes what it has */
    free(support_done("train --resume --data tuning.txt --out tuned --steps 6 --resume-with-changes --save-every 2 "
                      "--batch-tokens 64 --seq-len 32"));
    support_same_files("tuned/step-2/chat_template.jinja", "tuned/step-6/chat_template.jinja");
    support_same_files("tuned/step-2/generation_config.json", "tuned/step-6/generation_config.json");
    set_generation("c", "{\"top_k\": \"many\"}");
    support_refused(1, "c/generation_config.json: top_k must be",
                    "train --model c --data tuning.txt --out never --steps 2 --batch-tokens 64 --seq-len 32");
    assert_false(support_exists("never"));
    support_write("c/chat_template.jinja", form, strlen(form));
    support_write("c/generation_config.json", kept, strlen(kept));
    free(form);
    free(kept);
}

/* A model that has read such conversations writes the user's part too; the answer ends before it, and that is what the
 * session has read. */
static void test_plain_ends_before_the_users_turn(void **state) {
    static char text[6000];
    (void)state;
    for (size_t n = 0; n + 40 < sizeof text;)
        n += (size_t)snprintf(text + n, sizeof text - n, "User: What?\nAssistant: That.\n");
    support_write("talk.txt", text, strlen(text));
    free(support_done("train --model m --data talk.txt --out run --steps 40 --batch-tokens 256 --seq-len 64 --lr 1e-2 "
                      "--save-every 40"));
    json_t *list = talk("What?\nWhat?\n", "--model run/latest --template plain --temperature 0");
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(support_string(at(list, i), "finish"), "stop");
        assert_string_equal(support_string(at(list, i), "text"), "That.");
        double prompt = support_number(at(list, i), "prompt_tokens");
        double from = i ? support_number(at(list, 0), "position") : 0;
        assert_true(support_number(at(list, i), "position") == from + prompt + 6); /* " That." */
        assert_int_equal(prompt, i ? 23 : 23);                                     /* with BOS, or a line end */
    }
    json_decref(list);
}

/* ---- a terminal ---- */

typedef struct terminal {
    pid_t child;
    int fd;
    char text[1 << 16];
    size_t n, seen;
} terminal;

static terminal on_terminal(const char *const *argv) {
    terminal t = {.n = 0};
    t.child = forkpty(&t.fd, NULL, NULL, NULL);
    assert_true(t.child >= 0);
    if (!t.child) {
        execv(argv[0], (char **)(uintptr_t)argv);
        _exit(126);
    }
    return t;
}

/* Until it has shown this text behind what was expected before. */
static void expect(terminal *t, const char *text) {
    for (;;) {
        t->text[t->n] = 0;
        char *found = memmem(t->text + t->seen, t->n - t->seen, text, strlen(text));
        if (found) {
            t->seen = (size_t)(found - t->text) + strlen(text);
            return;
        }
        if (t->n > sizeof t->text / 2) { /* an endless answer */
            memmove(t->text, t->text + t->n - 1000, 1000);
            t->n = 1000;
            t->seen = 0;
        }
        ssize_t got = read(t->fd, t->text + t->n, 4096);
        if (got <= 0) fail_msg("the terminal ended without \"%s\": %s", text, t->text + t->seen);
        t->n += (size_t)got;
    }
}

static void type(const terminal *t, const char *text) {
    assert_int_equal(write(t->fd, text, strlen(text)), strlen(text));
}

static int leave(terminal *t) {
    while (read(t->fd, t->text, 4096) > 0) {}
    close(t->fd);
    return support_cli_wait(t->child);
}

static void test_ctrl_c_stops_an_answer(void **state) {
    static const char *const argv[] = {
        INNERLOOP,       "chat", "--model",          "m",   "--template", "plain", "--max-tokens", "1000000000",
        "--temperature", "0",    "--repeat-penalty", "1.3", NULL};
    (void)state;
    terminal t = on_terminal(argv);
    expect(&t, "/help lists commands.");
    expect(&t, "> ");
    type(&t, "Hello\n");
    expect(&t, "Hello\r\n");
    while (t.n < t.seen + 50) { /* some of the answer */
        ssize_t got = read(t.fd, t.text + t.n, 4096);
        assert_true(got > 0);
        t.n += (size_t)got;
    }
    type(&t, "\x03");
    expect(&t, "(stopped)\r\n");
    expect(&t, "> ");
    type(&t, "/stats\n");
    expect(&t, "main: 1 turn, ");
    expect(&t, "> ");
    type(&t, "/nonsense\n"); /* is said, and nothing more comes of it */
    expect(&t, "unknown command /nonsense");
    expect(&t, "> ");
    type(&t, "/fork b\n");
    expect(&t, "b> ");
    type(&t, "\x03");
    expect(&t, "(Ctrl-C once more leaves, as /quit does)");
    expect(&t, "b> ");
    type(&t, "/switch main\n");
    expect(&t, "> ");
    type(&t, "\x04"); /* Ctrl-D */
    assert_int_equal(leave(&t), 0);
}

static void test_ctrl_c_twice_leaves(void **state) {
    static const char *const argv[] = {INNERLOOP, "chat",         "--model",      "m", "--template", "plain",
                                       "--save",  "left.ilstate", "--max-tokens", "3", NULL};
    (void)state;
    terminal t = on_terminal(argv);
    expect(&t, "> ");
    type(&t, "Hello\n");
    expect(&t, "(stopped after 3 tokens");
    expect(&t, "> ");
    type(&t, "\x03");
    expect(&t, "once more leaves");
    type(&t, "\x03");
    assert_int_equal(leave(&t), 128 + SIGINT);
    json_t *list = talk("/history", "--model m --template plain --load left.ilstate");
    assert_int_equal(json_array_size(json_object_get(at(list, 0), "turns")), 1);
    json_decref(list);
}

static size_t bytes_in(const char *path) {
    size_t bytes;
    free(support_read(path, &bytes));
    return bytes;
}

/* Elsewhere the first signal ends the chat in good order, as it ends every verb. */
static void test_a_signal_ends_a_script(void **state) {
    (void)state;
    remove("out");
    pid_t child = support_cli_start("chat --model m --template plain --prompt Hello --max-tokens 1000000000 "
                                    "--temperature 0 --save signal.ilstate");
    while (!support_exists("out") || !bytes_in("out")) usleep(5000); /* until something was answered */
    kill(child, SIGTERM);
    assert_int_equal(support_cli_wait(child), 128 + SIGTERM);
    json_t *list = talk("/history", "--model m --template plain --load signal.ilstate");
    assert_int_equal(json_array_size(json_object_get(at(list, 0), "turns")), 1);
    json_decref(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_turn_costs_its_own_tokens),
        cmocka_unit_test(test_a_system_message),
        cmocka_unit_test(test_ways_to_the_same_place),
        cmocka_unit_test(test_another_answer),
        cmocka_unit_test(test_a_file_is_read),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_standard_output_is_what_was_answered),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_the_models_own_way),
        cmocka_unit_test(test_conversion_takes_them_along),
        cmocka_unit_test(test_training_takes_them_along),
        cmocka_unit_test(test_plain_ends_before_the_users_turn),
        cmocka_unit_test(test_ctrl_c_stops_an_answer),
        cmocka_unit_test(test_ctrl_c_twice_leaves),
        cmocka_unit_test(test_a_signal_ends_a_script),
    };
    return cmocka_run_group_tests_name("chat", tests, begin, end);
}
