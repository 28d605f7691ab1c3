/* support_cli_models.c: see support_cli_models.h. */
#include "support_test.h"

#include "support_cli_models.h"

#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_files.h"
#include "support_text.h"

char *support_book(uint64_t seed, size_t bytes) {
    support_seed(seed);
    char *prose = support_prose(bytes);
    support_write("book.txt", prose, bytes);
    return prose;
}

void support_bytes_model(void) {
    free(
        support_done("init --preset tiny %s --mixer ttt_linear --tokenizer bytes --seed 3 --out fresh", SUPPORT_SHAPE));
    free(support_done(
        "train --model fresh --data book.txt --out run --steps 25 --batch-tokens 256 --seq-len 64 --lr 1e-2 "
        "--save-every 25"));
    assert_int_equal(rename("run/step-25", "m"), 0);
}

void support_sentencepiece_model(void) {
    free(support_done("train-tokenizer --vocab 300 --out t.model book.txt"));
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer t.model --out s", SUPPORT_SHAPE));
}

void support_llama_model(void) {
    static support_spm spm;
    support_spm_begin(&spm, 1);
    support_spm_piece(&spm, "\xE2\x96\x81", -1, SUPPORT_NORMAL);
    for (char c = 'a'; c <= 'z'; c++) support_spm_piece(&spm, (char[]){c, 0}, -2, SUPPORT_NORMAL);
    support_spm_piece(&spm, "\xE2\x96\x81the", -0.5F, SUPPORT_NORMAL);
    support_spm_piece(&spm, "rea", -0.25F, SUPPORT_NORMAL);
    support_spm_end(&spm, SUPPORT_UNIGRAM, 1, 1, 0);
    support_write("l.model", spm.data, spm.bytes);
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer l.model --out l", SUPPORT_SHAPE));
}
