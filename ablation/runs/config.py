"""What a run is: network, recipe, data and seed as frozen values that check themselves; and the run id, a
hash of exactly these.

The run id leaves out what does not change a result (device, threads, where files lie); the record keeps
those.
"""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ablation.runs.checks import one_of, within
from ablation.theory.network import Network
from ablation.theory.own import Own

# Raise by hand when a change alters results: older records then no longer count (tests/test_training.py holds
# a reminder).
RESULTS_VERSION = 1
EMBEDDED = ("shapes", "stripes")  # image sets that the project makes (ablation/images/embedded.py)
COLOUR = re.compile(r"white|black|grey|#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the same for every arm of a study.

    epochs, batch_size: passes over the training images; images a step (the last, partial batch of an epoch is
    dropped). accumulate: equal parts in which the network sees a batch, one after the other, before a step is
    taken with the mean of their gradients; batch norm sees one part at a time. optimizer: sgd (Nesterov
    momentum), rmsprop (TensorFlow's, as in the released code) or adamw. learning_rate: its peak. schedule:
    cosine to 0, or exponential (x decay_rate every decay_epochs, staircase), after warmup_epochs of linear
    warm-up. weight_decay: on weights only, never on norms and biases. clip: largest gradient norm, 0 for
    none. label_smoothing, dropout (before the classifier), dropout_growth (what that gains with each doubling
    of the baseline's multiply-adds, counted: an arm's recipe then holds the sum), drop_path (stochastic depth
    of the last block, growing linearly from 0). ema: decay of the averaged weights and batch-norm statistics
    that are evaluated, warmed up as (1 + n) / (10 + n); 0 for none. zero_init: start the last norm of every
    branch that is added to its own input at zero, so that a deep network starts shallow (Goyal et al. 2017; a
    branch beside a projection starts at one, since projection alone sees one pixel of four). norm_momentum:
    weight of the newest batch in the running batch-norm statistics (PyTorch's convention). flip: mirror at
    random. shift: largest random shift as a fraction of the input side. crop: least area of a random resized
    crop, 1 for none. crop_from: what crops are cut from, the image `shrunk` to the network's side, or as it
    is `stored`, or the `original` as its file holds it, to be resized once. evaluation_crop: side of the
    centre crop that is evaluated, as a share of the stored image's, or of the original's shorter side.
    randaugment, magnitude: random operations on each image, 0 for none, and how strong they are, 0 to 10
    (images.augment). mixup, cutmix: alpha of the Beta that says how much of another image is mixed into each,
    or fills a box of it, 0 for none. precision: fp32, or bf16 autocast. channels_last: memory format.
    validate_every: epochs between looks at the validation images; the final epoch is always measured.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: str = "sgd"
    momentum: float = 0.9
    schedule: str = "cosine"
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    warmup_epochs: float = 0.5
    weight_decay: float = 0.0
    clip: float = 0.0
    label_smoothing: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    ema: float = 0.0
    zero_init: bool = False
    norm_momentum: float = 0.1
    flip: bool = True
    shift: float = 0.0
    crop: float = 1.0
    precision: str = "fp32"
    channels_last: bool = True
    validate_every: int = 2
    crop_from: str = "shrunk"
    evaluation_crop: float = 1.0
    accumulate: int = 1
    dropout_growth: float = 0.0
    randaugment: int = 0
    magnitude: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        one_of("recipe.optimizer", self.optimizer, ("sgd", "rmsprop", "adamw"))
        one_of("recipe.schedule", self.schedule, ("cosine", "exponential"))
        one_of("recipe.precision", self.precision, ("fp32", "bf16"))
        for name in ("epochs", "batch_size", "validate_every", "accumulate"):
            within(f"recipe.{name}", getattr(self, name), 1, 1e6)
        for name in ("learning_rate", "decay_epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"recipe.{name}={getattr(self, name):g}: must be above 0")
        for name in ("warmup_epochs", "weight_decay", "clip", "mixup", "cutmix"):
            within(f"recipe.{name}", getattr(self, name), 0)
        for name in ("momentum", "label_smoothing", "dropout", "drop_path", "ema"):
            within(f"recipe.{name}", getattr(self, name), 0, 0.99999)
        within("recipe.shift", self.shift, 0, 0.5)
        within("recipe.crop", self.crop, 0.01, 1)
        one_of("recipe.crop_from", self.crop_from, ("shrunk", "stored", "original"))
        within("recipe.evaluation_crop", self.evaluation_crop, 0.1, 1)
        if self.evaluation_crop < 1 and self.view is None:
            raise ValueError(
                f"recipe.evaluation_crop={self.evaluation_crop:g}: it is cut from stored or original images; "
                "add recipe.crop_from=stored, or original"
            )
        within("recipe.norm_momentum", self.norm_momentum, 1e-6, 1)
        within("recipe.decay_rate", self.decay_rate, 1e-6, 1)
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"recipe.warmup_epochs={self.warmup_epochs:g}: must be as long as or shorter than "
                f"recipe.epochs={self.epochs}"
            )
        within("recipe.dropout_growth", self.dropout_growth, 0, 1)
        within("recipe.randaugment", self.randaugment, 0, 14)
        within("recipe.magnitude", self.magnitude, 0, 10)
        if bool(self.randaugment) != bool(self.magnitude):
            raise ValueError(
                f"recipe.randaugment={self.randaugment} recipe.magnitude={self.magnitude:g}: one is nothing "
                "without the other; e.g. 2 and 9, or 0 and 0"
            )
        if self.randaugment and self.crop < 1 and self.view is None:
            raise ValueError(
                f"recipe.randaugment={self.randaugment}: its operations follow the crop, here the last step; "
                "add recipe.crop_from=stored, or original"
            )
        if self.mixes and self.part % 2:
            raise ValueError(
                f"recipe.mixup={self.mixup:g} recipe.cutmix={self.cutmix:g}: images are mixed in pairs, and "
                f"{self.part} are seen at once; take an even number"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"recipe.accumulate={self.accumulate}: recipe.batch_size={self.batch_size} does not split "
                "into equal parts; take a divisor of it"
            )

    def check_split(self, devices: int) -> None:
        """Raises ValueError where so many devices cannot share equally what the network sees at once."""
        if self.part % devices:
            parts = f" in parts of {self.part}" if self.accumulate > 1 else ""
            raise ValueError(
                f"devices={devices}: recipe.batch_size={self.batch_size}{parts} does not split into equal "
                "parts; take another number"
            )
        if self.mixes and self.part // devices % 2:
            raise ValueError(
                f"devices={devices}: images are mixed in pairs, and {self.part // devices} are on each at "
                "once; take an even number"
            )

    @property
    def part(self) -> int:
        """Images that the network sees at once, on all devices together."""
        return self.batch_size // self.accumulate

    @property
    def mixes(self) -> bool:
        """Whether images are mixed in pairs."""
        return self.mixup > 0 or self.cutmix > 0

    @property
    def from_stored(self) -> bool:
        """Whether every image that a network sees is cut from the stored one and resized once."""
        return self.crop_from == "stored"

    @property
    def from_original(self) -> bool:
        """Whether it is cut from the original: images then stay encoded."""
        return self.crop_from == "original"

    @property
    def reads_train(self) -> bool:
        """Whether training images are read, and cut, anew in each epoch."""
        return self.from_stored or (self.from_original and self.crop < 1)

    @property
    def view(self) -> float | None:
        """Side of the centre crop that is measured, as a share of the stored image's side or the original's
        shorter one; None where images are resized as a whole."""
        return None if self.crop_from == "shrunk" else self.evaluation_crop

    @property
    def crops(self) -> bool:
        """Whether anything is cut off an image."""
        return self.crop < 1 or self.evaluation_crop < 1


@dataclass(frozen=True)
class Data:
    """Which images, and how they are split.

    name: `shapes` or `stripes` (made by this project), or a data set of the Hugging Face hub. path: the same
    layout, or class folders, on disk. files: digest of the names and sizes of the files at path. Stated, it
    says which files they must be, and a plan or a report needs none. subset: the hub's configuration name.
    image, label: columns; found by their type where None. classes: number of labels. native: side in pixels
    that images are decoded to; more would invent detail. upsample: allow that. train, evaluation: split
    names; evaluation None takes test, else validation, else a fifth held out of train. train_size: training
    images used, None for all. validation_size: images held out of train for every choice. evaluation_size:
    images of the evaluation split used, None for all. split_seed: of the hold-out and of embedded images
    themselves. generator: version of what renders those; None for 1. detail: side in pixels that images are
    reduced to before they are brought to the network's; None for native. A network of more pixels then sees
    an enlarged image: more pixels without more information. draw: how images are held out, plain or by-class
    (each class in its share). background: a colour under transparent pixels, whose transparency is otherwise
    dropped. skip_broken: leave out images that do not decode. pixel_limit: most pixels of one image. stored:
    least side in pixels that images are decoded to where that is below native, JPEGs by way of their own
    scale; None for native.
    kind: of an embedded set whose images are of several kinds, the one to use alone. permuted: labels that
    are shuffled over the images of a source, so that nothing can be learned of them: a negative control.
    """

    name: str
    classes: int
    native: int
    path: str | None = None
    subset: str | None = None
    image: str | None = None
    label: str | None = None
    train: str = "train"
    evaluation: str | None = None
    train_size: int | None = None
    validation_size: int = 1000
    evaluation_size: int | None = None
    split_seed: int = 0
    upsample: bool = False
    detail: int | None = None
    files: str | None = None
    draw: str = "plain"
    background: str | None = None
    skip_broken: bool = False
    pixel_limit: int = 178_956_970
    generator: int | None = None
    kind: str | None = None
    permuted: bool = False
    stored: int | None = None

    def __post_init__(self) -> None:
        one_of("data.draw", self.draw, ("plain", "by-class"))
        if self.background is not None and not COLOUR.fullmatch(self.background):
            raise ValueError(
                f"data.background={self.background}: white, black, grey, or #RRGGBB in quotes, or null"
            )
        within("data.pixel_limit", self.pixel_limit, 1)
        within("data.classes", self.classes, 2, 1e6)
        within("data.native", self.native, 1, 1e5)
        within("data.validation_size", self.validation_size, 1, 1e12)
        within("data.split_seed", self.split_seed, 0, 2**63 - 1)
        for name in ("train_size", "evaluation_size", "detail", "stored"):
            if getattr(self, name) is not None:
                within(f"data.{name}", getattr(self, name), 1)

    def check_pixels(self, pixels: int) -> None:
        """Resolution is information: raises ValueError above native size unless upsampling is asked for."""
        if pixels > self.native and not self.upsample:
            raise ValueError(
                f"{pixels} px is above the {self.native} px that {self.name} holds natively: enlarged "
                "images hold no new information; take a "
                "smaller phi or resolution, a baseline of fewer pixels (mini-10 starts at 10 px), or "
                "data.upsample=true to study exactly that"
            )
        if self.side < min(pixels, self.native):
            raise ValueError(
                f"{pixels} px is above data.stored={self.stored}, the side that images are decoded to; "
                f"state data.stored={pixels} or more"
            )

    @property
    def side(self) -> int:
        """In pixels, of the decoded images."""
        return self.stored or self.native

    def seen_at(self, pixels: int) -> "Data":
        """The same images as a network of this input side sees them: stored large enough, and a detail of no
        fewer pixels takes nothing away."""
        data = self.holding(pixels)
        if self.detail and self.detail >= pixels:
            return dataclasses.replace(data, detail=None)
        return data

    def holding(self, pixels: int) -> "Data":
        """The same images stored for networks of up to this side: `stored` is doubled until it holds them,
        and None where that reaches native."""
        if self.stored is None:
            return self
        side = self.stored
        while side < min(pixels, self.native):
            side *= 2
        return dataclasses.replace(self, stored=side if side < self.native else None)

    @property
    def embedded(self) -> bool:
        """Whether these are the images that the project makes, not a folder called like them."""
        return self.name in EMBEDDED and not self.path and not self.files

    def identity(self) -> dict[str, Any]:
        """What is hashed: all fields but the path, in whose place `files` says which images lie there.

        Raises ValueError where it does not say so yet (see images.survey).
        """
        if self.path and not self.files:
            raise ValueError(f"data.path={self.path}: which files lie there is not known yet")
        return content(dataclasses.replace(self, path=None))


def folder_of(path: str) -> Path:
    """The folder at `path`; raises FileNotFoundError where there is none, or a file."""
    folder = Path(path).expanduser()
    if folder.is_file():
        raise FileNotFoundError(
            f"data.path={path}: a file; give the folder that holds Parquet files, or one folder of images "
            "per class (docs/data.md says how to unpack ImageNet's archives)"
        )
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data.path={path}: no such folder; give the folder that holds Parquet files, or one folder of "
            "images per class"
        )
    return folder


@lru_cache(maxsize=64)
def names_and_sizes(path: str) -> str:
    """A digest of sorted relative names and sizes below a folder; raises FileNotFoundError where there is
    none."""
    folder = folder_of(path)
    files = sorted(
        (file.relative_to(folder).as_posix(), file.stat().st_size)
        for file in folder.rglob("*")
        if file.is_file()
    )
    if not files:
        raise FileNotFoundError(
            f"data.path={path}: the folder is empty; it should hold Parquet files, or one folder of images "
            "per class"
        )
    return digest(files)


@dataclass(frozen=True)
class Init:
    """Weights that a run starts from; what they lack is drawn, as ever.

    digest: SHA-256 of their file, the only part of an identity. source: a name of a hub, or the end of a
    path. path: where the file lies here. share: of the network's parameters, those that the file holds.
    whole: whether it lacks nothing but a classifier of as many classes. classifier: whether it has that.
    """

    digest: str
    source: str = field(compare=False)
    path: str = field(compare=False)
    share: float = field(compare=False)
    whole: bool = field(compare=False)
    classifier: bool = field(compare=False)

    @property
    def told(self) -> dict[str, Any]:
        """What a record says of it: all but a place on one machine."""
        return {name: value for name, value in vars(self).items() if name != "path"}


@dataclass(frozen=True)
class Run:
    """One training: the smallest thing with a record. evaluate=False never opens the evaluation split; init
    None draws all weights."""

    network: Network | Own
    recipe: Recipe
    data: Data
    seed: int
    evaluate: bool = True
    init: Init | None = None

    def __post_init__(self) -> None:
        within("seed", self.seed, 0, 2**31 - 1)
        self.data.check_pixels(self.network.pixels)

    @cached_property
    def id(self) -> str:
        """A hash of all that changes the result: network, recipe, data, seed, RESULTS_VERSION, and what it
        starts from where that is not drawn."""
        return digest(self._content | {"seed": self.seed, "results": RESULTS_VERSION})

    @cached_property
    def alike(self) -> str:
        """A hash of what runs share that differ in nothing but seed and number of epochs."""
        recipe = {name: it for name, it in self._content["recipe"].items() if name != "epochs"}
        return digest(self._content | {"recipe": recipe})

    @property
    def _content(self) -> dict[str, dict[str, Any]]:
        """Network, recipe, data and start, as far as they change a result."""
        start = {"init": content(self.init)} if self.init else {}
        return {
            "network": content(self.network),
            "recipe": content(self.recipe),
            "data": self.data.identity() | {"opened": self.evaluate},
            **start,
        }


@dataclass(frozen=True)
class Execution:
    """Where and how runs are carried out; none of it changes a result, so none of it is hashed.

    runs: folder of records. cache: folder of decoded images. threads: CPU threads of one process.
    accelerator: auto, cpu or gpu. devices: GPUs, or processes on the CPU, over which one run is split.
    gpu_memory: GiB that one run may take of a GPU, so that several share it; None gives each run a whole one.
    resident: images in the memory of the device; None where they take at most a quarter of it, else they are
    streamed. wandb: offline, online or disabled. project: the W&B project. study: which one it is for.
    logger: a second one, beside W&B. keep_weights: leave weights.pt, what was evaluated, beside the record.
    keep_bits: train a done run once more where its record does not say which images it got right.
    """

    runs: Path
    cache: Path
    threads: int = 1
    accelerator: str = "auto"
    wandb: str = "offline"
    project: str = "ablation"
    keep_weights: bool = False
    keep_bits: bool = False
    devices: int = 1
    gpu_memory: float | None = None
    resident: bool | None = None
    study: str = ""
    logger: str | None = None

    def __post_init__(self) -> None:
        within("threads", self.threads, 1, 1024)
        within("devices", self.devices, 1, 1024)
        if self.gpu_memory is not None:
            within("gpu_memory", self.gpu_memory, 0.1)
            if self.devices > 1:
                raise ValueError(
                    f"devices={self.devices} gpu_memory={self.gpu_memory:g}: a run over several GPUs has "
                    "each to itself; drop gpu_memory"
                )
        one_of("accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        one_of("wandb.mode", self.wandb, ("offline", "online", "disabled"))
        one_of("logger", self.logger or "csv", ("csv", "tensorboard", "mlflow"))


def content(value: Any) -> Any:
    """A frozen dataclass as plain values, leaving out fields at their default, and those in which equal
    values may differ.

    So a new setting whose default is what was done before keeps the id of every older record; a default that
    was released never changes.
    """
    if isinstance(value, tuple):
        return [content(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {
        field.name: content(found)
        for field, found in fields
        if field.compare and found != field.default
    }


def digest(values: Any) -> str:
    """The first 12 hexadecimal digits of SHA-256 over canonical JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
