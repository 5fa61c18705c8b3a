"""The training loop, run by Hugging Face Accelerate: one process, or several on several GPUs and machines.

    with Trainer(config) as trainer:
        for progress in trainer.run():
            print(progress.step, progress.losses["total"])

The loop never prints and never exits; it yields its progress, and `allaprima train` draws it.
"""

import gc
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, gather_object
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import InputError
from ..models.transformer import ImageTransformer, build
from ..models.vgg import VGGFeatures
from ..pictures import Frame, read_picture
from . import optimality
from .checkpoint import FOLDER, Checkpoint, load_checkpoint, pack_optimizer, unpack_optimizer
from .config import COMPACT, SYNTHETIC, TrainConfig, smallest_photo_px
from .device import keep_freed_memory, precision
from .evaluate import Figures, evaluate, read_photos, stylize, synthetic_photos
from .guard import Guard
from .loss_network import NO_YARDSTICK, load_loss_network, load_yardstick
from .objective import Objective
from .optimizer import Muon, set_rate
from .photos import HELD_OUT, PhotoList, Stream, SyntheticPhotos, divide, list_photos, middle_crop, start_worker
from .run_folder import RunFolder
from .schedule import Schedule
from .start import start_from
from .strength import PHOTOS

if torch.distributed.is_available():  # not in every build of PyTorch
    import torch.distributed.nn  # before there is a group: its functions' defaults would keep it for ever

FLAT = 2.0  # standard deviation in grey levels of a painting with nothing on it but a scanner's noise
LOG_EVERY = 10  # steps between two looks at the losses: each look waits for the device


@dataclass(frozen=True)
class Progress:
    """Where a training stands."""

    step: int
    steps: int
    losses: Mapping[str, float]
    """The last step's, by name."""
    learning_rate: float
    images_per_second: float
    seconds_left: float
    note: str = ""
    """Something that happened, in words."""


@dataclass
class Result:
    """What a training came to."""

    finished: bool = False
    figures: Figures | None = None
    seconds: float = 0.0
    rollbacks: int = 0
    notes: list[str] = field(default_factory=list)


class Trainer:
    """One training, from its configuration (or a run to resume) to the figures of the trained network.

    Args:
        config: what to train, and how.
        network: an untrained network to take in place of the configuration's build, for experiments.

    Raises:
        InputError: on construction, for anything in the configuration that cannot be used; while running, when the
            disk is full or the training does not converge.
    """

    def __init__(self, config: TrainConfig, network: ImageTransformer | None = None) -> None:
        checkpoint = load_checkpoint(config.resume) if config.resume else None
        self.result = _result_so_far(checkpoint)
        self._old_notes, self._old_rollbacks = len(self.result.notes), self.result.rollbacks
        self._since_s: float | None = None  # when `run` began
        if checkpoint:
            if ignored := config.ignored_by_resume:
                self._note(f"{', '.join(ignored)}: ignored, a resumed run keeps its settings")
            config = config.resumed(checkpoint.config)
        self.config = config = replace(config, photos=config.photos or SYNTHETIC)
        if config.made_up and not config.flip and not checkpoint:
            self._note("--no-flip: ignored, synthetic photos are never mirrored")
        assert config.painting is not None
        self.painting = read_picture(config.painting, what="painting")
        if self.painting.std(axis=(0, 1)).max() < FLAT:
            raise InputError(f"painting '{config.painting}' is one flat colour: there is nothing to learn from it")
        self._painting_digest = optimality.digest(self.painting)
        if checkpoint and checkpoint.painting not in {"", self._painting_digest}:
            raise InputError(
                f"'{config.painting}' is not the painting of this run: give the same, or train it anew (--from base)"
            )
        self.photos, held_out = _photos(config)
        self.judged_on_unseen = not set(held_out) & set(self.photos.paths)
        """Whether the photos that figures are of are not trained on."""
        planned = Schedule.plan(config, _steps(config, len(self.photos)))
        self.schedule = checkpoint.schedule if checkpoint else planned

        keep_freed_memory()
        torch.manual_seed(config.seed)
        self.accelerator = Accelerator(
            mixed_precision=precision(config.precision),
            cpu=not torch.accelerator.is_available(),
            dataloader_config=DataLoaderConfiguration(split_batches=True),
            step_scheduler_with_optimizer=False,
        )
        self._check_batch()
        self.device = self.accelerator.device
        features, self.loss_network = load_loss_network(
            config.loss_network,
            config.layers,
            average_pooling=config.average_pooling,
            weights=config.vgg_weights,
        )
        if checkpoint and checkpoint.loss_network != self.loss_network:
            remedy = "train anew" if config.loss_network == COMPACT else "give the same --vgg-weights"
            raise InputError(f"the {config.loss_network} weights are not those of this run: {remedy}")
        self.features = features.to(self.device, self._dtype).to(memory_format=torch.channels_last)
        self.objective = Objective(config, self.features, self.painting, self.typical_photos)
        self.config = replace(config, style_weight=self.objective.k)
        if network is None:
            network = build(config.build)
            if checkpoint is None:
                start_from(config.start, network, build=config.build)
        network = network.to(self.device).to(memory_format=torch.channels_last)
        if checkpoint:
            checkpoint.fill(network)
            torch.set_rng_state(checkpoint.random)
        optimizer = Muon(network, config.learning_rate)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        if checkpoint:
            unpack_optimizer(self.optimizer, checkpoint.optimizer)
        self.step = checkpoint.step if checkpoint else 0
        self.guard = Guard(rate_scale=checkpoint.rate_scale if checkpoint else 1.0)
        if self.is_main and config.loss_network == COMPACT and not self.yardstick:
            self._note(NO_YARDSTICK)
        self.val_photos = _unseen(config, held_out) if self.is_main else []
        self._unseen = [middle_crop(photo, config.size).to(self.device) for photo in self.val_photos]
        self._photos_changed = checkpoint is not None and checkpoint.photos != self.photos.fingerprint
        self._stop = False
        self._unreadable: set[int] = set()
        self.folder = RunFolder(_run_path(config), resume=checkpoint is not None, write=self.is_main)

    def __enter__(self) -> "Trainer":
        self.folder.open(self.config, first_step=self.step, painting=self.painting)
        if self._photos_changed:
            self._note("the photos are not those this run started with: the losses will differ")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.folder.close()
        if not isinstance(error, Exception):  # of a process that fails alone the others still want something
            self._leave_group()

    def _leave_group(self) -> None:
        """End the threads of the group: one that is still at work while Python exits aborts the process."""
        self.network = self.bare_network  # the wrapper around it, in cycles, holds the group
        self.accelerator.free_memory()
        gc.collect()
        self.accelerator.end_training()

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return bool(self.accelerator.is_main_process)

    @property
    def bare_network(self) -> ImageTransformer:
        """The network without what Accelerate wraps around it, in fp32."""
        return cast(ImageTransformer, self.accelerator.unwrap_model(self.network, keep_fp32_wrapper=False))

    @property
    def steps(self) -> int:
        """Of the whole training, as planned now."""
        return self.schedule.steps

    @property
    def notes(self) -> list[str]:
        """What has been noted since this start, before its first step or later."""
        return self.result.notes[self._old_notes :]

    def _note(self, text: str) -> None:
        if text not in self.result.notes:
            self.result.notes.append(text)

    @property
    def _rollbacks(self) -> int:
        return self._old_rollbacks + self.guard.rollbacks

    @property
    def _seconds(self) -> float:
        """That the steps up to here have taken, those before a resumption as well."""
        return self.result.seconds + (time.perf_counter() - self._since_s if self._since_s is not None else 0.0)

    def stop(self) -> None:
        """Ask the loop to save and end after the step it is in (what Ctrl-C does)."""
        self._stop = True

    def run(self) -> Iterator[Progress]:
        """Train from the present step to the last; a checkpoint is written at the end, whatever ended it."""
        self._since_s, clock = time.perf_counter(), _Clock()
        good = newest = self.snapshot()  # a snapshot is good once the steps that follow it went well
        while self.step < self.steps and not self._stop:
            log: list[dict[str, Tensor]] = []
            for batch in self.batches():
                self._unreadable.update(batch["unreadable"].tolist())
                log.append(self.train_step(batch["photo"]))
                self.step += 1
                if len(log) < LOG_EVERY and self.step < self.steps and not self._due() and not self._stop_now():
                    continue
                values = self._gather(log)
                if trouble := self.guard.trouble(values, warming_up=self.step < 2 * self.schedule.warmup + LOG_EVERY):
                    note = f"step {self.step}: {self.guard.slow_down(trouble)}"
                    self.restore(good)
                    newest = good
                    self._note(note)
                    yield self._progress(values[-1], clock, note)
                    break  # the stream starts anew at the step gone back to
                self._write_log(values, clock.lap(len(values) * self.config.batch))
                note = self._judge()
                good, newest, log = newest, self.snapshot(), []
                self._periodic()
                yield self._progress(values[-1], clock, note)
                if self._agree(self._stop):
                    self._stop = True
                    break
                if self.step >= self.steps:
                    break
        self.result.seconds, self._since_s = self._seconds, None
        self.result.rollbacks = self._rollbacks
        self.result.finished = self.step >= self.steps
        self.save()

    def finish(self) -> Figures | None:
        """Write figures and report of the trained network; None where nothing is there to measure with or on."""
        if not self.is_main:
            return None
        c, result = self.config, self.result
        if self.val_photos and self.yardstick:
            vgg, _ = self.yardstick
            result.figures = evaluate(
                self.bare_network, vgg, self.painting, self.val_photos, style_weight=self.objective.k
            )
            self.folder.hparams(c, result.figures.short())
        self._report()
        return result.figures

    def prove(self) -> Iterator[optimality.Progress]:
        """After `finish`: hold the network against the slow method; figures and report then say how near it comes.

        Each yield is a good moment to stop; what was measured up to there is kept in the user's cache folder.
        """
        c, figures = self.config, self.result.figures
        if not (self.is_main and figures and self.yardstick and c.proof and self.objective.k):
            return  # without style the photo itself is the best possible, and its loss 0
        vgg, sha256 = self.yardstick
        proof = optimality.Proof(
            partial(stylize, self.bare_network),
            self.painting,
            self.val_photos[: c.proof],
            vgg=vgg,
            vgg_sha256=sha256,
            style_weights=(self.objective.k,),
            shorter_px=optimality.RATIO_PX,
            reference_steps=optimality.REFERENCE_STEPS,
            examples=0,
            cache=optimality.references_folder(),
        )
        yield from proof.run()
        ratios = proof.result.ratios
        self.result.figures = replace(figures, optimality_ratio=proof.result.ratio, ratio_photos=len(ratios))
        self._report()

    @cached_property
    def yardstick(self) -> tuple[VGGFeatures, str] | None:
        """What judges in the end, and the hash of its weights; None where none is here and none is needed."""
        if (loaded := load_yardstick(self.config)) is None:
            return None
        vgg, sha256 = loaded
        return vgg.to(self.device), sha256

    def _report(self) -> None:
        contents = asdict(self.result) | {
            "step": self.step,
            "steps": self.steps,
            "photos": {
                "used": self.photos_used,
                "skipped": self.photos.skipped,
                "are": self.config.kinds_of_photos,
                "judged_on_unseen": self.judged_on_unseen,
            },
            "loss_network": self.loss_network,
            "processes": self.accelerator.num_processes,
            "precision": self.precision,
        }
        self.folder.report(self.config, contents)

    def snapshot(self) -> Checkpoint:
        """All that a training needs to go on from here, as copies."""
        network = {k: v.detach().clone() for k, v in self.bare_network.state_dict().items()}
        return Checkpoint(
            config=self.config,
            step=self.step,
            schedule=replace(self.schedule, judged=[*self.schedule.judged]),
            rate_scale=self.guard.rate_scale,
            loss_network=self.loss_network,
            photos=self.photos.fingerprint,
            painting=self._painting_digest,
            so_far={"seconds": self._seconds, "rollbacks": self._rollbacks, "notes": [*self.result.notes]},
            network=network,
            optimizer=pack_optimizer(self.optimizer),
            random=torch.get_rng_state(),
        )

    def restore(self, snapshot: Checkpoint) -> None:
        """Go back to a snapshot; the guard keeps its new rate."""
        self.bare_network.load_state_dict(snapshot.network)
        unpack_optimizer(self.optimizer, snapshot.optimizer)
        torch.set_rng_state(snapshot.random)
        self.step, self.schedule = snapshot.step, snapshot.schedule

    def save(self) -> None:
        """Write a checkpoint; in one process only."""
        if self.is_main:
            self.folder.flush()
            self.snapshot().save(self.folder.path / FOLDER, keep=self.config.keep_checkpoints)

    def train_step(self, photo: Tensor) -> dict[str, Tensor]:
        """One optimizer step on (B, 3, S, S) uint8 RGB; the losses by name, as scalars on the device."""
        parts = self.objective.losses(self.network, photo, self.step)
        set_rate(self.optimizer, self._rate(self.step))
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(parts["total"])
        parts["gradient"] = self.accelerator.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimizer.step()
        return {name: value.detach() for name, value in parts.items()}

    def _rate(self, step: int) -> float:
        """The learning rate of the step numbered `step`, from 0."""
        return self.schedule.rate(step) * self.guard.rate_scale

    def batches(self) -> Any:
        """What is left of the stream: `Sample`s with a leading batch dimension, on the device."""
        c = self.config
        stream = Stream(len(self.photos), batch=c.batch, start=self.step, stop=self.steps, seed=c.seed)
        crops = self.photos.crops(size_px=c.size, flip=c.flip, seed=c.seed)
        loader: DataLoader[Any] = DataLoader(
            crops,
            batch_sampler=stream,
            num_workers=c.workers,
            pin_memory=self.device.type == "cuda",
            worker_init_fn=start_worker,
        )
        return self.accelerator.prepare(loader)

    def typical_photos(self) -> Tensor:
        """A few crops, evenly spread over the photos: (B, 3, S, S) uint8."""
        count = len(self.photos)
        crops = self.photos.crops(size_px=self.config.size, flip=False, seed=self.config.seed)
        return torch.stack([crops[i * count // PHOTOS, i]["photo"] for i in range(PHOTOS)])

    def _judge(self) -> str:
        """J of the photos held out, as often as the schedule wants it; the words for it where training ends early."""
        if not (self.config.early_stop and self.schedule.wants_judgement(self.step)):
            return ""
        j = torch.zeros((), device=self.device)
        if self.is_main:
            js = [self.objective.j(self.network, photo) for photo in self._unseen]
            j += sum(js) / len(js) if js else float("nan")
            self.folder.scalar("val/J", j.item(), self.step)
        j = self.accelerator.reduce(j, reduction="sum")
        if not self.schedule.judge(self.step, j.item()):
            return ""
        judged = "unseen photos" if self.judged_on_unseen else "the photos"
        note = f"step {self.step}: J of {judged} no longer falls, ending at step {self.steps}"
        self._note(note)
        return note

    @property
    def photos_used(self) -> int:
        """How many different photos were trained on."""
        return self.step * self.config.batch if self.config.made_up else len(self.photos)

    @property
    def precision(self) -> str:
        """`bf16` or `fp32`."""
        return "bf16" if self.accelerator.mixed_precision == "bf16" else "fp32"

    @property
    def _dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def _check_batch(self) -> None:
        if self.config.batch % self.accelerator.num_processes:
            count = self.accelerator.num_processes
            raise InputError(f"--batch: got {self.config.batch}, expected a multiple of the {count} processes")

    def _gather(self, log: list[dict[str, Tensor]]) -> list[dict[str, float]]:
        """Losses of the last steps, averaged over the processes, as numbers; photos that failed are noted."""
        for index in set(gather_object(sorted(self._unreadable))) - {-1}:
            self.photos.skipped[str(self.photos.paths[index])] = "cannot be decoded"
        names = list(log[0])
        table = torch.stack([torch.stack([entry[name].float() for name in names]) for entry in log])
        table = self.accelerator.reduce(table, reduction="mean")
        return [dict(zip(names, row, strict=True)) for row in table.tolist()]

    def _write_log(self, values: list[dict[str, float]], images_per_second: float) -> None:
        first = self.step - len(values) + 1
        for step, entry in enumerate(values, first):
            self.folder.log(step, entry, self._rate(step - 1), images_per_second)

    def _due(self) -> bool:
        return self.step % self.config.checkpoint_every == 0 or self.step % self.config.preview_every == 0

    def _periodic(self) -> None:
        if self.step % self.config.checkpoint_every == 0:
            self.save()
        if self.step % self.config.preview_every == 0 or self.step == self.steps:
            self.folder.show(self.bare_network, self.painting, self.val_photos, self.step)

    def _stop_now(self) -> bool:
        return self._stop and self.accelerator.num_processes == 1  # several processes agree at the next look

    def _agree(self, flag: bool) -> bool:
        """Whether any process raised its flag."""
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.device), reduction="sum").item())

    def _progress(self, losses: Mapping[str, float], clock: "_Clock", note: str = "") -> Progress:
        rate = self._rate(max(0, self.step - 1))
        per_second = clock.images_per_second
        left = (self.steps - self.step) * self.config.batch / per_second if per_second else float("inf")
        return Progress(self.step, self.steps, losses, rate, per_second, left, note)


def _result_so_far(checkpoint: Checkpoint | None) -> Result:
    """What a report has of the steps before; a stranger's checkpoint may hold anything."""
    held = checkpoint.so_far if checkpoint else {}
    try:
        seconds, rollbacks = float(held.get("seconds", 0)), int(held.get("rollbacks", 0))
        return Result(seconds=seconds, rollbacks=rollbacks, notes=[str(note) for note in held.get("notes", [])])
    except (TypeError, ValueError):
        return Result()


class _Clock:
    """Images per second, smoothed."""

    def __init__(self) -> None:
        self.last, self.images_per_second = time.perf_counter(), 0.0

    def lap(self, images: int) -> float:
        now = time.perf_counter()
        rate = images / max(now - self.last, 1e-9)
        self.images_per_second = rate if not self.images_per_second else 0.8 * self.images_per_second + 0.2 * rate
        self.last = now
        return rate


def _run_path(config: TrainConfig) -> Path:
    if config.resume:
        return config.resume if config.resume.is_dir() else config.resume.parent.parent
    return config.out or Path("runs") / config.style_name


def _steps(config: TrainConfig, photos: int) -> int:
    if config.epochs is not None:
        return max(1, round(config.epochs * photos / config.batch))
    return config.steps or config.default_steps


def _photos(config: TrainConfig) -> tuple[PhotoList, list[Path]]:
    """Photos to train on and photos to validate on; none of the latter where they are made up too."""
    smallest_px = smallest_photo_px(config.size)
    photos = SyntheticPhotos() if config.made_up else list_photos(Path(str(config.photos)), shorter_px=smallest_px)
    if config.val_photos is not None:
        return photos, divide(list_photos(config.val_photos, shorter_px=smallest_px))[1]
    return (photos, []) if config.made_up else divide(photos)


def _unseen(config: TrainConfig, held_out: list[Path]) -> list[Frame]:
    """Photos to validate on, shorter side `YARDSTICK_PX`."""
    return synthetic_photos(HELD_OUT) if config.judged_by_made_up else read_photos(held_out)
