"""Weights, and what is known of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path as PathOf
from typing import Any, Mapping, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt

from ._core import Floats, Path, call, ffi, ints, lib, log, make, own, path_bytes, text, write
from .config import Config, Value, written
from .engine import Engine, handle_of
from .errors import ArgumentError, FileError, UnsupportedError
from .tokenizer import Tokenizer

_USUAL = b"generation_config.json"

_PLACES = [PathOf(__file__).parent / "models", PathOf(sys.prefix) / "share/innerloop/models"]  # of bundled models

_WEIGHTS = {text(lib.il_weight_type_name(i)): i for i in range(4)}

# What `innerloop init` gives new models of this mixer.
_FURNISHED, _FAST_HEAD_SIZE, _FAST_HEAD_ALL, _FAST_HEAD_TOKENS = "ttt_linear_decay", 32, 32768, 8192


def bundled(name: str) -> str:
    """The directory of a model that comes with innerloop: "reader", trained on English novels; "any", on the bytes of
    programs, logs, tables and documents; "clothes", on pictures of clothes; "digits", on films of moving digits.

    >>> bundled("reader")  # doctest: +ELLIPSIS
    '...reader'
    """
    there = all_bundled()
    if name not in there:
        raise FileError(f"there is no bundled model {name!r} in " + " or ".join(map(str, _PLACES)))
    return there[name]


def all_bundled() -> dict[str, str]:
    """The directories of all of them, by their names."""
    found = [path.parent for place in _PLACES for path in sorted(place.glob("*/config.json"))]
    return {path.name: str(path) for path in reversed(found)}  # the first place counts


def _resolve(path: Optional[Path]) -> Path:
    if path is None:
        return bundled("reader")
    if os.path.exists(os.path.join(path, "config.json")):
        return path
    return all_bundled().get(os.fsdecode(path), path)


class Sampling(NamedTuple):
    """How the next token is drawn, in this order: repeat_penalty on the logits of recent tokens (1: off), temperature
    (0: the likeliest), min_p (0: off), top_k (0: off), top_p (1: off)."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float


class Taken(NamedTuple):
    """What became of the tensors when one model took the weights of another, by their names."""

    taken: list[str]
    """Of the model: they have the other's numbers now."""
    fresh: list[str]
    """Of the model: the other has nothing for them, and they are as they were."""
    left: list[str]
    """Of the other: they have no place in the model."""


class Model:
    """Weights, which do not change but by a :class:`Trainer`; may be shared by threads.

    >>> with Model.load("reader") as model:
    ...     model.vocab_size, model.parameters
    (4096, 2625316)
    """

    def __init__(self, pointer: Any, engine: Any, path: Optional[Path] = None) -> None:
        self._engine = engine
        self._owned: Any = own(pointer, lib.il_model_unref, engine)
        self._identity = int(ffi.cast("uintptr_t", pointer))  # sessions of one model have the same
        self._tokenizer: Optional[Tokenizer] = None
        self._generation: Any = None
        self.path = path
        """Where it was loaded from; None for a new one."""
        self._files = None if path is None else path_bytes(os.path.abspath(path))  # whatever the folder is by then
        config = self._config
        self.vocab_size = int(config.vocab_size)
        """V: logits are [n, V]."""
        self.width = int(config.width)
        """D: hidden vectors are [n, D]."""

    @property
    def _pointer(self) -> Any:
        if self._owned is None:
            raise ValueError("the model is closed")
        return self._owned

    @property
    def _config(self) -> Any:
        return lib.il_model_config(self._pointer)

    @classmethod
    def load(
        cls,
        path: Optional[Path] = None,
        *,
        weights: Optional[str] = None,
        fields: Optional[Mapping[str, Value]] = None,
        transposed: bool = False,
        engine: Optional[Engine] = None,
    ) -> Model:
        """Reads a model directory, a GGUF file, or a checkpoint of the official code. path "reader", "any", "clothes"
        or "digits": a bundled model, None: "reader". weights: "f32", "bf16", "int8" or "int4", how linear layers are
        held; None: as the files have them. fields: keys of config.json that the files leave unsaid or say wrongly.
        transposed: the square matrices of a directory lie as [in, out], as a conversion from JAX may have left them."""
        handle = handle_of(engine)
        path = _resolve(path)
        options = ffi.new("il_load_options *")
        lib.il_load_options_default(options)
        if weights is not None:
            options.weights = _weights(weights)
        keep = [ffi.new("char[]", f"{key}={written(value)}".encode()) for key, value in (fields or {}).items()]
        names = ffi.new("char *[]", keep)
        options.set, options.n_set, options.transposed = names, len(keep), transposed
        pointer = make(lib.il_model_load_as, "il_model", handle.pointer, path_bytes(path), options)
        return cls(pointer, handle, path)

    @classmethod
    def init(
        cls,
        config: Union[str, Config] = "tiny",
        *,
        mixer: str = _FURNISHED,
        tokenizer: Optional[Tokenizer] = None,
        seed: int = 0,
        fields: Optional[Mapping[str, Value]] = None,
        engine: Optional[Engine] = None,
    ) -> Model:
        """New weights from the recipe's distributions, the same on every machine for the same seed. config: a preset
        ("tiny", "small", "125m", …), made as `innerloop init` makes it for this tokenizer (None: bytes); or a
        :class:`Config`, taken as it is. fields: keys of config.json, set last.

        >>> model = Model.init("tiny", mixer="ttt_linear", seed=1)
        >>> model.config.mixers[0], model.vocab_size
        ('ttt_linear', 258)
        """
        handle = handle_of(engine)
        if isinstance(config, Config):
            config = config.copy()
        else:
            tokenizer = tokenizer or Tokenizer.load("bytes", engine=engine)
            config = _preset(config, mixer, tokenizer)
        if fields:
            config.set(fields)
        model = cls(make(lib.il_model_init, "il_model", handle.pointer, config._struct, seed), handle)
        model._tokenizer = tokenizer
        return model

    def convert(
        self,
        weights: Optional[str] = None,
        *,
        fast_head_size: Optional[int] = None,
        fast_head_lr: Optional[float] = None,
    ) -> Model:
        """A model of the same tensors with linear layers held as "f32", "bf16", "int8" or "int4", or with another fast
        head. What stays as it is lies on the same memory.

        >>> Model.load().convert("int8").weights
        'int8'
        """
        self._engine.check()
        config = self.config
        if weights is not None:
            config._struct.weights = _weights(weights)
        if fast_head_size is not None:
            config.fast_head_size = fast_head_size
        if fast_head_lr is not None:
            config.fast_head_lr = fast_head_lr
        model = Model(make(lib.il_model_convert, "il_model", self._pointer, config._struct), self._engine, self.path)
        model._tokenizer, model._files = self._tokenizer, self._files
        return model

    def take(self, other: Model) -> Taken:
        """Takes the weights of another model, of another length, depth or mixer, wherever that has a tensor of the same
        name and shape, as `innerloop train --init-from` does; the tensors of attention and of TTT count as the same.
        Both must be fp32. MismatchError when nothing fits. Tensors change: a session that was opened before it must not
        be used after it.

        >>> model = Model.init("tiny", fields={"num_hidden_layers": 2})
        >>> taken, fresh, left = model.take(Model.init("tiny", mixer="self_attention", seed=1))
        >>> "model.embed_tokens.weight" in taken, "model.layers.2.mlp.up_proj.weight" in left
        (True, True)
        """
        fates = Taken([], [], [])
        handle = ffi.new_handle(fates)
        call(lib.il_model_take, self._pointer, other._pointer, lib.il_py_taken, handle)
        return fates

    def save(self, path: Path, *, tokenizer: Optional[Tokenizer] = None) -> None:
        """Writes a model directory, with a tokenizer (None: its own, if it has one). Model and tokenizer appear
        together; then what the files where it was loaded from say of chatting and sampling is copied beside them."""
        tokenizer = self._tokenizer_to_save(tokenizer)
        if tokenizer is None:
            call(lib.il_model_save_with, self._pointer, ffi.NULL, path_bytes(path))
            return
        files = self._files_to_save()
        usual = None
        if files:  # what they say is read before anything is written, since path may be where they lie
            call(lib.il_generation_load, tokenizer._pointer, self._config, files, ffi.new("il_generation *"))
            if os.path.exists(os.path.join(files, _USUAL)):
                usual = PathOf(os.fsdecode(files), os.fsdecode(_USUAL)).read_bytes()
        call(lib.il_model_save_with, self._pointer, tokenizer._pointer, path_bytes(path))
        if usual is not None:
            write(os.path.join(path_bytes(path), _USUAL), usual)
        call(lib.il_chat_copy, tokenizer._pointer, self._config, files, path_bytes(path))

    def _tokenizer_to_save(self, given: Optional[Tokenizer]) -> Optional[Tokenizer]:
        try:
            return given or self.tokenizer
        except UnsupportedError as error:
            if self._files is not None:
                log.warning("saved without a tokenizer, and without what is said of chatting: %s", error)
            return None

    def _files_to_save(self) -> Any:
        """Where what is said of chatting lies, char *, for calls that copy it; NULL: nowhere."""
        if self._files is None:
            return ffi.NULL
        if not os.path.exists(self._files):
            log.warning(
                "%s is gone: what it said of chatting and sampling is not saved with the model",
                os.fsdecode(self._files),
            )
            return ffi.NULL
        return self._files

    def _own_tokenizer(self) -> Optional[Tokenizer]:
        try:
            return self.tokenizer
        except UnsupportedError:
            return None

    @property
    def engine(self) -> Engine:
        """The engine that it was loaded on."""
        return Engine._of(self._engine)

    @property
    def config(self) -> Config:
        """A copy of its configuration."""
        return Config(ffi.new("il_config *", self._config[0]))

    @property
    def weights(self) -> str:
        """How linear layers are held: "f32", "bf16", "int8" or "int4"."""
        return text(lib.il_weight_type_name(self._config.weights))

    @property
    def parameters(self) -> int:
        """How many numbers its tensors have."""
        return int(lib.il_model_parameters(self._pointer))

    @property
    def fingerprint(self) -> str:
        """Of configuration and tensors, 32 hex digits."""
        out = ffi.new("char[33]")
        lib.il_model_fingerprint(self._pointer, out)
        return text(out)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that lies beside it. UnsupportedError, naming what does lie there, when there is none that is
        known."""
        if self._tokenizer is None:
            if self._files is None:
                raise UnsupportedError("a model that was not loaded from files has no tokenizer of its own")
            pointer = make(
                lib.il_tokenizer_load_for_model,
                "il_tokenizer",
                self._engine.pointer,
                self._files,
                self._config,
            )
            self._tokenizer = Tokenizer(pointer, self._engine)
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    @property
    def bos(self) -> int:
        """The token that begins a text, -1: none."""
        return int(lib.il_tokenizer_bos(self.tokenizer._pointer, self._config))

    def _usual(self) -> Any:
        """il_generation: what the files beside it say of sampling and stops."""
        if self._generation is None:
            generation = ffi.new("il_generation *")
            if self._files is not None:
                call(lib.il_generation_load, self.tokenizer._pointer, self._config, self._files, generation)
            else:
                lib.il_sample_options_default(ffi.addressof(generation, "sampling"))
                if self._config.eos_token >= 0:
                    generation.stop[0] = self._config.eos_token
                    generation.n_stops = 1
            self._generation = generation
        return self._generation

    @property
    def sampling(self) -> Sampling:
        """How the files beside it say that tokens are drawn; what they do not say is as the library has it."""
        s = self._usual().sampling
        return Sampling(s.temperature, s.top_k, s.top_p, s.min_p, s.repeat_penalty)

    @property
    def stops(self) -> list[int]:
        """Tokens that end a text."""
        usual = self._usual()
        return [int(usual.stop[i]) for i in range(usual.n_stops)]

    @property
    def tensors(self) -> dict[str, Floats]:
        """The tensors that are held as fp32, by their names on disk: read-only arrays on the model's own memory. A
        trainer's steps change what they show.

        >>> Model.load().tensors["model.norm.weight"].shape
        (192,)
        """
        out: dict[str, Floats] = {}
        tensor = ffi.new("il_tensor *")
        for i in range(lib.il_model_tensor_count(self._pointer)):
            call(lib.il_model_tensor_at, self._pointer, i, tensor)
            if tensor.data:
                held = own(ffi.cast("float *", tensor.data), _unref(self._pointer), self._engine)
                array = np.frombuffer(ffi.buffer(held, 4 * tensor.count), dtype=np.float32)
                array = array.reshape([tensor.shape[k] for k in range(tensor.rank)])
                array.flags.writeable = False
                out[text(tensor.name)] = array
        return out

    def gradient(self, tokens: npt.ArrayLike) -> tuple[float, dict[str, Floats]]:
        """The recipe's loss, in nats per token, and its gradient by tensor, for a trainer of your own. tokens
        [sequences, length+1]: length inputs and targets each, every sequence from a fresh state. The weights must be
        fp32.

        >>> loss, gradient = Model.init("tiny").gradient([[1, 2, 3, 4, 5]])
        >>> round(loss, 1), gradient["model.norm.weight"].dtype
        (5.6, dtype('float32'))
        """
        self._engine.check()
        batch = np.ascontiguousarray(tokens, dtype=np.int32)
        if batch.ndim != 2 or batch.shape[1] < 2:
            raise ArgumentError(f"tokens of shape {batch.shape}: they are [sequences, length+1]")
        flat = np.empty(self.parameters, np.float32)
        loss = ffi.new("double *")
        call(
            lib.il_model_gradient,
            self._pointer,
            ints(batch),
            batch.shape[0],
            batch.shape[1] - 1,
            loss,
            ffi.from_buffer("float[]", flat),
        )
        out: dict[str, Floats] = {}
        tensor = ffi.new("il_tensor *")
        start = 0
        for i in range(lib.il_model_tensor_count(self._pointer)):
            call(lib.il_model_tensor_at, self._pointer, i, tensor)
            shape = [tensor.shape[k] for k in range(tensor.rank)]
            out[text(tensor.name)] = flat[start : start + tensor.count].reshape(shape)
            start += tensor.count
        return loss[0], out

    def log_sum_exp(self, logits: npt.ArrayLike) -> float:
        """ln of the sum of exp(logits [V]): this less logits[t] is, bit for bit, the loss of feeding t."""
        row = np.ascontiguousarray(logits, dtype=np.float32)
        return float(lib.il_log_sum_exp(self._engine.pointer, ffi.from_buffer("float[]", row), len(row)))

    def close(self) -> None:
        """Gives its memory back as soon as no session, trainer or tensor of it is left. It cannot be used after it."""
        self._owned = None  # a call that is under way in another thread holds it until it returns

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._owned is None:
            return "<innerloop.Model: closed>"
        return f"<innerloop.Model: {self.parameters} parameters, {self.weights}, {self.config!r}>"


def _unref(model: Any) -> Any:
    """A release of a tensor's memory: one reference more to its model, until then."""
    lib.il_model_ref(model)
    address = int(ffi.cast("uintptr_t", model))
    return lambda _: lib.il_model_unref(ffi.cast("il_model *", address))


def _weights(name: str) -> int:
    if name not in _WEIGHTS:
        raise ArgumentError(f"weights {name!r}: they are one of " + ", ".join(_WEIGHTS))
    return _WEIGHTS[name]


def _preset(preset: str, mixer: str, tokenizer: Tokenizer) -> Config:
    config = Config.preset(preset, mixer)
    config.vocab_size = tokenizer.vocab_size
    config.bos_token, config.eos_token = tokenizer.bos, tokenizer.eos
    config._struct.bytes_tokenizer = tokenizer.kind == "bytes"
    if mixer == _FURNISHED:
        config.fast_head_size = _FAST_HEAD_SIZE
        if config.vocab_size > _FAST_HEAD_ALL:
            config.fast_head_tokens = _FAST_HEAD_TOKENS
    return config
