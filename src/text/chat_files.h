/* chat_files.h: the files beside a model that say how it chats: generation_config.json, tokenizer_config.json,
 * chat_template.jinja, and eos_token_id of config.json. */
#ifndef IL_TEXT_CHAT_FILES_H
#define IL_TEXT_CHAT_FILES_H

#include "text/chat_template.h"

/* Those of them that a model that is saved does not write itself. */
#define IL_CHAT_FILES "tokenizer_config.json", "chat_template.jinja"

enum { IL_CHAT_FILE_MAX = 1 << 20 }; /* bytes of each */

typedef struct il_chat_files {
    il_generation generation;
    int has_template;
    il_chat_template template; /* of no form where there is none */
    int bos, eos;              /* bos_token and eos_token of tokenizer_config.json; -1: they say none */
} il_chat_files;

/* Reads what is there of them in dir. tokenizer gives the ids of tokens that are named by their text. */
il_status il_chat_files_read(const il_tokenizer *tokenizer, const il_config *config, const char *dir,
                             il_chat_files *files, il_error *error);

/* The same of one file's text; path is for messages. files must have been begun. */
void il_chat_files_begin(il_chat_files *files);
il_status il_generation_parse(const char *path, const char *text, size_t bytes, int vocab_size, il_chat_files *files,
                              il_error *error);
/* config.json: nothing but eos_token_id, there or in text_config. */
il_status il_config_stops_parse(const char *path, const char *text, size_t bytes, int vocab_size, il_chat_files *files,
                                il_error *error);
il_status il_tokenizer_config_parse(const char *path, const char *text, size_t bytes, const il_tokenizer *tokenizer,
                                    il_chat_files *files, il_error *error);

#endif
