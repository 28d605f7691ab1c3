/* config_fields.h: the keys of config.json as one table: what they set, whose they are, their bounds, and what they
 * mean where they are absent; and the families of models, which are what model_type names. Knows no JSON. */
#ifndef IL_MODEL_CONFIG_FIELDS_H
#define IL_MODEL_CONFIG_FIELDS_H

#include <stddef.h>

#include "innerloop.h"

enum { IL_VOCABULARY_MAX = 1 << 24 };

typedef enum il_field_kind { IL_FIELD_INT, IL_FIELD_BOOL, IL_FIELD_TOKEN, IL_FIELD_REAL } il_field_kind;

/* Which models a key is about. */
typedef enum il_field_of {
    IL_OF_ALL,
    IL_OF_LEARNERS,  /* those with a layer or a head that learns */
    IL_OF_TTT,       /* that has TTT */
    IL_OF_DELTA,     /* that has the gated delta rule */
    IL_OF_ATTENTION, /* that has attention */
    /* The same; and all. Only files of our own types say these: of other types the type does. */
    IL_OF_OWN_ATTENTION,
    IL_OF_OWN
} il_field_of;

/* Columns of the table: types of models that take the same for an absent key. */
enum { IL_ABSENT_TTT, IL_ABSENT_LLAMA, IL_ABSENT_QWEN2, IL_ABSENT_QWEN3, IL_ABSENT_QWEN3_5, IL_ABSENT_COLUMNS };

typedef struct il_field {
    const char *key;
    il_field_kind kind;
    il_field_of of;
    size_t at; /* in il_config */
    double min, max;
    double absent[IL_ABSENT_COLUMNS];
} il_field;

extern const il_field il_fields[];
extern const int il_field_count;

const il_field *il_field_find(const char *key);
double il_field_value(const il_config *config, const il_field *field);
void il_field_set(il_config *config, const il_field *field, double value);

/* What a model_type means. A model of ours is written as the first of another's that can say all of it, so that other
 * software reads it, and else as a type of our own, which it refuses. */
typedef struct il_family {
    const char *model_type, *architecture;
    int column;                                     /* of defaults */
    int is_own;                                     /* unknown to other software: keys say everything */
    il_mixer_kind mixer;                            /* of its layers; of hybrids the one that is not attention */
    int qk_norm, gate, norm_offset, partial_rotary; /* of others: what it has without a key */
    int query_bias; /* q, k and v have biases and the output has none; else attention_bias speaks of all four */
} il_family;

extern const il_family il_families[];
extern const int il_family_count;

const il_family *il_family_find(const char *model_type); /* NULL: unknown */
/* As which a config is written; the type of our own that a model with that leading mixer has. */
const il_family *il_family_of(const il_config *config);
const il_family *il_family_own(il_mixer_kind mixer);
/* Defaults of all keys, and what the family has without one. */
void il_family_defaults(const il_family *family, il_config *config);
/* Whether a file of that type may have the key; whether the model has what it is about. */
int il_family_may_have(const il_family *family, const il_field *field);
int il_config_has(const il_config *config, const il_field *field);

/* Numbers that say what their absence says become 0: head_width, kv_heads, rotary_width, and what belongs to another
 * rope_scaling. */
void il_config_normalize(il_config *config);
/* Whether a layer learns while it reads. */
int il_config_learns(const il_config *config);
/* Whether the layers have attention, of any kind. */
int il_config_attends(const il_config *config);

#endif
