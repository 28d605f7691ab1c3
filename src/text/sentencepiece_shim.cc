/* sentencepiece_shim.cc: see sentencepiece_shim.h. */
#include "text/sentencepiece_shim.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

extern "C" {
#include "base/utf8.h"
}

/* Exported by the library but in none of its installed headers. */
namespace sentencepiece {
namespace logging {
void SetMinLogLevel(int level);
}
} // namespace sentencepiece

using sentencepiece::SentencePieceProcessor;
using sentencepiece::SentencePieceTrainer;
using sentencepiece::util::Status;
using sentencepiece::util::StatusCode;

/* What words have become. */
using Kept = std::unordered_map<std::string, std::vector<int>>;

/* Whoever encodes takes one of `idle` for as long, or begins one: there come to be as many as threads that encode at
 * once, and none waits for another. */
struct il_sp {
    SentencePieceProcessor processor;
    mutable std::mutex lock; /* of idle */
    mutable std::vector<std::unique_ptr<Kept>> idle;
};

struct il_sp_trainer {
    std::unordered_map<std::string, int64_t> words;
    bool has_space = false; /* the space that every model must have has been counted */
};

namespace {

enum {
    LOG_NOTHING_BUT_FATAL = 3,
    WORD_BYTES_MAX = 1024,
    KEPT_WORD_BYTES_MAX = 64,
    KEPT_WORDS_MAX = 1 << 17 /* of each: some twenty megabytes */
};

/* Once, since the level is a plain global that encoding threads read. */
void silence() {
    static const bool silent = (sentencepiece::logging::SetMinLogLevel(LOG_NOTHING_BUT_FATAL), true);
    (void)silent;
}

il_sp_result failed(const char *text, char *message, size_t capacity) {
    /* The library's texts begin with its source line, "bpe_model_trainer.cc(203) [a >= b] ": of no use to a
     * reader. */
    const char *end = std::strstr(text, "] ");
    std::snprintf(message, capacity, "%s", end && end[2] ? end + 2 : text);
    return IL_SP_FAILED;
}

/* Runs work and turns whatever it throws into a result. */
template <typename Work> il_sp_result guarded(char *message, size_t capacity, Work work) {
    try {
        silence();
        return work();
    } catch (const std::bad_alloc &) { return IL_SP_NOMEM; } catch (const std::exception &problem) {
        return message ? failed(problem.what(), message, capacity) : IL_SP_FAILED;
    } catch (...) { return message ? failed("unknown exception", message, capacity) : IL_SP_FAILED; }
}

/* Hands the counted words to the trainer as "word<TAB>count", in sorted order so that training is repeatable. */
class Words : public sentencepiece::SentenceIterator {
  public:
    explicit Words(const std::unordered_map<std::string, int64_t> &words) {
        sorted_.reserve(words.size());
        for (const auto &entry : words) sorted_.push_back(&entry);
        std::sort(sorted_.begin(), sorted_.end(), [](auto *a, auto *b) { return a->first < b->first; });
        show();
    }
    bool done() const override { return at_ >= sorted_.size(); }
    void Next() override {
        ++at_;
        show();
    }
    const std::string &value() const override { return line_; }
    Status status() const override { return Status(); }

  private:
    void show() {
        if (!done()) line_ = sorted_[at_]->first + "\t" + std::to_string(sorted_[at_]->second);
    }
    std::vector<const std::pair<const std::string, int64_t> *> sorted_;
    size_t at_ = 0;
    std::string line_;
};

bool separates(const char *text, int length) {
    return length == 0 || static_cast<unsigned char>(*text) < 0x20 || *text == 0x7F ||
           (length == 3 && (!std::memcmp(text, "\xE2\x96\x81", 3) || !std::memcmp(text, "\xE2\x96\x85", 3)));
}

class Borrowed {
  public:
    explicit Borrowed(const il_sp *sp) : sp_(sp) {
        std::lock_guard<std::mutex> turn(sp->lock);
        if (sp->idle.empty()) {
            words_ = std::make_unique<Kept>();
        } else {
            words_ = std::move(sp->idle.back());
            sp->idle.pop_back();
        }
    }
    ~Borrowed() {
        try {
            std::lock_guard<std::mutex> turn(sp_->lock);
            sp_->idle.push_back(std::move(words_));
        } catch (...) {} /* no memory to keep it */
    }
    Borrowed(const Borrowed &) = delete;
    Borrowed &operator=(const Borrowed &) = delete;
    Kept &words() { return *words_; }

  private:
    const il_sp *sp_;
    std::unique_ptr<Kept> words_;
};

} // namespace

il_sp_result il_sp_open(const void *model, size_t bytes, il_sp **sp, char *message, size_t capacity) {
    *sp = nullptr;
    return guarded(message, capacity, [&] {
        auto made = std::make_unique<il_sp>();
        Status status =
            made->processor.LoadFromSerializedProto(std::string_view(static_cast<const char *>(model), bytes));
        if (!status.ok()) return failed(status.message(), message, capacity);
        *sp = made.release();
        return IL_SP_OK;
    });
}

void il_sp_close(il_sp *sp) { delete sp; }

void il_sp_special(const il_sp *sp, int *unk, int *bos, int *eos) {
    *unk = sp->processor.unk_id();
    *bos = sp->processor.bos_id();
    *eos = sp->processor.eos_id();
}

il_sp_result il_sp_encode(const il_sp *sp, const char *text, size_t bytes, int prefix, il_sp_ids emit, void *context) {
    return guarded(nullptr, 0, [&] {
        std::vector<int> ids;
        Status status;
        if (prefix) {
            std::string prefixed(" ");
            prefixed.append(text, bytes);
            status = sp->processor.Encode(prefixed, &ids);
        } else {
            status = sp->processor.Encode(std::string_view(text, bytes), &ids);
        }
        if (!status.ok()) return IL_SP_FAILED;
        return emit(context, ids.data(), ids.size()) ? IL_SP_OK : IL_SP_STOPPED;
    });
}

/* The end of the word that begins at `at`: spaces and what follows them up to the next space; a character
 * that stands apart is a word by itself. */
static size_t word_end(const std::string &text, size_t at, const unsigned char apart[128]) {
    auto alone = [&](size_t i) { return static_cast<unsigned char>(text[i]) < 128 && apart[+text[i]]; };
    size_t end = at + 1;
    if (alone(at)) return end;
    while (end < text.size() && !alone(end) && (text[end] != ' ' || text[end - 1] == ' ')) end++;
    return end;
}

il_sp_result il_sp_encode_words(const il_sp *sp, const char *text, size_t bytes, int prefix,
                                const unsigned char apart[128], il_sp_ids emit, void *context) {
    return guarded(nullptr, 0, [&] {
        Borrowed borrowed(sp);
        Kept &words = borrowed.words();
        std::string whole(prefix ? 1 : 0, ' '), word;
        whole.append(text, bytes);
        std::vector<int> long_word;
        for (size_t at = 0, end; at < whole.size(); at = end) {
            end = word_end(whole, at, apart);
            word.assign(whole, at, end - at);
            const std::vector<int> *ids = &long_word;
            if (auto kept = words.find(word); kept != words.end()) {
                ids = &kept->second;
            } else {
                if (!sp->processor.Encode(word, &long_word).ok()) return IL_SP_FAILED;
                if (word.size() <= KEPT_WORD_BYTES_MAX) {
                    if (words.size() >= KEPT_WORDS_MAX) words.clear();
                    words.emplace(word, long_word);
                }
            }
            if (!emit(context, ids->data(), ids->size())) return IL_SP_STOPPED;
        }
        return IL_SP_OK;
    });
}

il_sp_result il_sp_trainer_open(il_sp_trainer **trainer) {
    *trainer = nullptr;
    return guarded(nullptr, 0, [&] {
        *trainer = new il_sp_trainer;
        return IL_SP_OK;
    });
}

void il_sp_trainer_close(il_sp_trainer *trainer) { delete trainer; }

size_t il_sp_trainer_words(const il_sp_trainer *trainer) { return trainer->words.size(); }

il_sp_result il_sp_trainer_add(il_sp_trainer *trainer, const char *text, size_t bytes) {
    return guarded(nullptr, 0, [&] {
        std::string word;
        auto finish = [&] {
            if (!word.empty()) ++trainer->words[word];
            word.clear();
        };
        for (size_t at = 0; at < bytes;) {
            int length = il_utf8_length(text + at, bytes - at);
            bool apart = separates(text + at, length);
            size_t step = length ? static_cast<size_t>(length) : 1;
            if (apart || word.size() >= WORD_BYTES_MAX)
                finish();
            else if (text[at] == ' ' && !word.empty() && word.back() != ' ')
                finish();
            if (!apart) word.append(text + at, step);
            at += step;
        }
        finish();
        return IL_SP_OK;
    });
}

/* The library names the number in words only: "Vocabulary size too high (N). Please set it to a value <= M." */
static int most_of(const std::string &text) {
    size_t at = text.find("too high"), number = text.find("<= ");
    return at == std::string::npos || number == std::string::npos ? 0 : std::atoi(text.c_str() + number + 3);
}

il_sp_result il_sp_trainer_run(il_sp_trainer *trainer, int vocab_size, int threads, il_sp_bytes emit, void *context,
                               int *most, char *message, size_t capacity) {
    *most = 0;
    return guarded(message, capacity, [&] {
        if (!trainer->has_space) ++trainer->words[" "]; /* it must have a piece of its own, whatever the text */
        trainer->has_space = true;
        Words words(trainer->words);
        std::string model;
        Status status = SentencePieceTrainer::Train({{"model_type", "bpe"},
                                                     {"vocab_size", std::to_string(vocab_size)},
                                                     {"input_format", "tsv"},
                                                     {"normalization_rule_name", "identity"},
                                                     {"add_dummy_prefix", "false"},
                                                     {"remove_extra_whitespaces", "false"},
                                                     {"byte_fallback", "true"},
                                                     {"split_digits", "true"},
                                                     {"allow_whitespace_only_pieces", "true"},
                                                     {"character_coverage", "0.9999"},
                                                     {"max_sentence_length", "65536"},
                                                     {"num_threads", std::to_string(threads)},
                                                     {"minloglevel", "3"}},
                                                    &words, &model);
        if (!status.ok()) {
            *most = most_of(status.message());
            return failed(status.message(), message, capacity);
        }
        return emit(context, model.data(), model.size()) ? IL_SP_OK : IL_SP_STOPPED;
    });
}
