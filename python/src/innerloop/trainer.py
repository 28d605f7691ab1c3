"""Steps of training, their checkpoints, and validation."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence

import numpy.typing as npt

from ._core import Path, call, ffi, lib, make, own, path_bytes
from .data import Data
from .errors import ArgumentError
from .model import Model
from .tokenizer import Tokenizer


class Step(NamedTuple):
    """One step of training."""

    step: int
    """1, 2, …"""
    loss: float
    """Mean over the batch before the update, in nats per token."""
    lr: float
    """Learning rate."""
    grad_norm: float
    """L2 norm of the gradient before it is clipped."""
    tokens: int
    """Read in this step."""
    seconds: float
    """It took."""
    skipped: bool
    """It was a spike (`skip_spikes`): the weights are as before."""


Callback = Callable[["Trainer", Step], Optional[bool]]


class Trainer:
    """Trains a model's weights, which must be fp32: AdamW over batches of data, with warm-up and a cosine of the
    learning rate. The model's tensors change with every step; a session that was opened before one must not be used
    after it.

    data: of files, or None for steps on arrays [sequences, length+1]. steps: the schedule's length. lr, end_lr: peak
    and final learning rate. warmup: in steps, None: a tenth of them. dtype: "f32", or "bf16" where the machine has AMX.
    memory: bytes that training may take, 0: any; activations are computed again where they would go beyond it, to the
    same bits. freeze: patterns of names of tensors that stay as they are. skip_spikes: a step whose loss or gradient is
    far above those before it changes nothing. lanes: into how many equal parts a batch is cut, a power of two; sums
    are added lane by lane, so that bits depend on it. keep: `save` keeps so many checkpoints and the best, 0: all.

    >>> import numpy as np
    >>> trainer = Trainer(Model.init("tiny", mixer="ttt_linear"), length=16, sequences=2, steps=20, lr=1e-2)
    >>> batch = np.tile(np.arange(17, dtype=np.int32), (2, 1))
    >>> losses = [trainer.step(batch).loss for _ in range(20)]
    >>> losses[-1] < losses[0] / 2
    True
    """

    def __init__(
        self,
        model: Model,
        data: Optional[Data] = None,
        *,
        steps: int = 1000,
        length: Optional[int] = None,
        sequences: Optional[int] = None,
        stateful: bool = False,
        lr: Optional[float] = None,
        end_lr: Optional[float] = None,
        warmup: Optional[float] = None,
        beta1: Optional[float] = None,
        beta2: Optional[float] = None,
        eps: Optional[float] = None,
        weight_decay: Optional[float] = None,
        clip: Optional[float] = None,
        inner_lr_start: Optional[float] = None,
        inner_lr_warmup: Optional[float] = None,
        dtype: str = "f32",
        memory: int = 0,
        freeze: Sequence[str] = (),
        skip_spikes: bool = False,
        lanes: int = 1,
        keep: int = 0,
        resume_with_changes: bool = False,
    ) -> None:
        model._engine.check()
        if data is None:
            if length is None or sequences is None:
                raise ArgumentError("length and sequences say what the arrays are that each step is given")
            data = Data(
                vocab_size=model.vocab_size, length=length, sequences=sequences, stateful=stateful, engine=model.engine
            )
        elif length is not None or sequences is not None or stateful:
            raise ArgumentError("length, sequences and stateful are the data's")
        options = ffi.new("il_trainer_options *")
        lib.il_trainer_options_default(model._config, options)
        options.steps = steps
        options.resume_with_changes = resume_with_changes
        options.memory = memory
        options.skip_spikes, options.lanes, options.keep = skip_spikes, lanes, keep
        names = [ffi.new("char[]", name.encode()) for name in freeze]
        patterns = ffi.new("const char *[]", names)
        options.freeze, options.n_freeze = patterns, len(names)
        types = {"f32": lib.IL_WEIGHTS_F32, "bf16": lib.IL_WEIGHTS_BF16}
        if dtype not in types:
            raise ArgumentError(f"dtype {dtype!r}: it is f32 or bf16")
        options.dtype = types[dtype]
        for name, value in [
            ("lr", lr),
            ("end_lr", end_lr),
            ("warmup", warmup),
            ("beta1", beta1),
            ("beta2", beta2),
            ("eps", eps),
            ("weight_decay", weight_decay),
            ("clip", clip),
            ("inner_lr_start", inner_lr_start),
            ("inner_lr_warmup", inner_lr_warmup),
        ]:
            if value is not None:
                setattr(options, name, value)
        self.model = model
        """The model that is trained."""
        self.data = data
        """What it is trained on."""
        self.steps = steps
        """The schedule's length."""
        self._lock = threading.Lock()
        files = model._files_to_save()
        if files:
            if model._own_tokenizer() is not None:
                model._usual()  # what `save` could not copy is told before the first step
            files = options.chat_files = ffi.new("char[]", files)
        held = (data._pointer, files)  # they must outlive the trainer

        def close(pointer: Any) -> None:
            lib.il_trainer_close(pointer)
            assert held

        pointer = make(lib.il_trainer_open, "il_trainer", model._pointer, data._pointer, options)
        self._pointer: Any = own(pointer, close, model._engine)

    @contextmanager
    def _held(self) -> Iterator[Any]:
        if not self._lock.acquire(False):
            raise RuntimeError("trainer in use: another thread, or a callback of this one, is at work with it")
        try:
            self.model._engine.check()
            if self._pointer is None:
                raise ValueError("the trainer is closed")
            yield self._pointer
        finally:
            self._lock.release()

    def step(self, tokens: Optional[npt.ArrayLike] = None, *, fresh: Optional[npt.ArrayLike] = None) -> Step:
        """One batch, one update. tokens [sequences, length+1]: the batch, for a trainer without files. fresh
        [sequences]: with stateful, which sequences start from a fresh state. EndError when all steps are done;
        NonFiniteError leaves the weights as before."""
        with self._held() as pointer:
            if self.data.given:
                if tokens is None:
                    raise ArgumentError("this trainer has no files: give each step its tokens")
                self.data.give(tokens, fresh)
            elif tokens is not None:
                raise ArgumentError("this trainer reads its data: it takes no tokens")
            step = ffi.new("il_step *")
            call(lib.il_trainer_step, pointer, step)
        return Step(
            int(step.step), step.loss, step.lr, step.grad_norm, int(step.tokens), step.seconds, bool(step.skipped)
        )

    def run(self, steps: Optional[int] = None, *, callbacks: Sequence[Callback] = ()) -> Optional[Step]:
        """Steps on its data: so many, None: to the end of the schedule. Each callback is called with the trainer and
        the step; one that returns False stops it. Returns the last step; None: there was none. Ctrl-C ends it after the
        step that is under way."""
        last: Optional[Step] = None
        left = self.steps - self.steps_done
        for _ in range(left if steps is None else min(steps, left)):
            last = self.step()
            if any([callback(self, last) is False for callback in callbacks]):
                break
        return last

    def evaluate(self, data: Data, *, max_batches: int = 0) -> float:
        """Mean loss over the batches of data from their beginning, in nats per token; 0: all of them."""
        loss = ffi.new("double *")
        with self._held() as pointer:
            call(lib.il_trainer_eval, pointer, data._pointer, max_batches, loss)
        return float(loss[0])

    @property
    def steps_done(self) -> int:
        """How many updates were made."""
        with self._held() as pointer:
            return int(lib.il_trainer_steps_done(pointer))

    def validated(self, loss: float) -> bool:
        """Notes the loss of a validation after the steps done, for checkpoints; whether it is the best so far."""
        validation = ffi.new("il_validation *")
        with self._held() as pointer:
            lib.il_trainer_validated(pointer, loss)
            lib.il_trainer_get_validation(pointer, validation)
        return bool(validation.worse == 0)

    def save(self, path: Path, *, tokenizer: Optional[Tokenizer] = None, best: bool = False) -> None:
        """Writes path/step-N, from which `resume` goes on and which is a model directory, and moves the link
        path/latest (best: path/best too). tokenizer None: the model's own, if it has one. Beside it goes what the files
        where the model was loaded from say of chatting and sampling."""
        tokenizer = self.model._tokenizer_to_save(tokenizer)
        pointer_of = ffi.NULL if tokenizer is None else tokenizer._pointer
        with self._held() as pointer:
            if best:
                call(lib.il_trainer_save_best, pointer, pointer_of, path_bytes(path), 0)
            else:
                call(lib.il_trainer_save, pointer, pointer_of, path_bytes(path))

    def resume(self, path: Path) -> None:
        """Goes on from path/latest: the steps that follow are those of a run that was never interrupted, bit for bit.
        Steps on arrays go on with batch number `data.cursor.batch`."""
        with self._held() as pointer:
            call(lib.il_trainer_resume, pointer, path_bytes(path))

    def close(self) -> None:
        """Gives its memory back, and the folder of its checkpoints to others. It cannot be used after it."""
        if self.model._engine.lost:
            self._pointer = None
        if self._pointer is not None:
            with self._held():
                self._pointer = None

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
