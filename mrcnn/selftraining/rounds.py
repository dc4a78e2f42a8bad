"""Label the patches that nobody annotated, and learn from them too: stage 3 as a function of plain arguments.

Keras and matplotlib are imported where they are used: scripts that check their settings need not wait.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mrcnn.config import MPP, WEIGHTS, NucleusConfig, fingerprint, is_whole
from mrcnn.selftraining import start
from mrcnn.selftraining.settings import Labelling, Training
from mrcnn.selftraining.splits import Material, Source
from nuclei import cluster
from nuclei.errors import InputError
from nuclei.folders import patches
from nuclei.folders.runs import RECORD, Run, set_aside
from nuclei.io.files import atomic_folder
from nuclei.io.locks import alone

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN
    from mrcnn.selftraining.patch_dataset import PatchDataset

# Patches of each source in a batch, in proportion. Generated tissue keeps what the start weights know.
SHARES = {"annotated": 3, "synthetic": 1, "transplanted": 3, "pseudo": 1, "generated": 1}
OUTLINED = ("annotated", "synthetic", "transplanted")  # pseudo labels teach places: outlines are a guess
STEPS_PER_EPOCH = 25  # from one checkpoint and validation to the next; steps are rounded up to whole epochs
MODEL = "model"  # the folder, within `out`, of the final model
LOGS = "logs"  # the folder, within that of a training, of its checkpoints and curves

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelfTraining:
    """All rounds of a run; `run` makes what is missing.

    Attributes:
        material: the patches (see `mrcnn.selftraining.splits.collect`).
        out: the folder of all results: `train_<n>/`, `label_<n>/` and `model/`.
        pseudo: the folder of the labelled patches.
        rounds: how often to label and train; 0 trains once. A start that knows nuclei labels first, so that
            a few outlines do not make the network forget other tissue; ImageNet's weights are trained first.
        training, labelling: see there.
        mpp: um/px of the patches, which the model keeps for `segment.py`.
        scheduler: who labels; see `nuclei.cluster.workers`.
    """

    material: Material
    out: Path
    pseudo: Path
    rounds: int = 1
    training: Training = field(default_factory=Training)
    labelling: Labelling = field(default_factory=Labelling)
    mpp: float = MPP
    scheduler: str | None = None

    def run(self) -> Path:
        """Make, or finish, all steps whose results are not there yet.

        Returns:
            the folder of the final model.

        Raises:
            InputError: files of others are in the way, a folder cannot be written, the loss is no longer
                finite, or there is neither a patch to learn from nor a network that labels some.
        """
        self.check()
        with alone(self.out, self.pseudo):
            self._set_aside_others()
            step = self._model(0) if self._first else self._train(0, model=None)
            for number in range(1, self.rounds + 1):
                step = self._train(number, model=step)
            return self._publish(step)

    @property
    def _first(self) -> int:
        """The first round that trains: 1 where the start knows nuclei and has patches to label, else 0."""
        return int(self.rounds > 0 and start.find(self.training.start) is not None)

    def check(self) -> None:
        """InputError for what shows before slow work: nothing to learn from, files of others in the way."""
        if self.rounds and not self.material.learnt and not self._first:
            raise InputError(f"--start {self.training.start} knows no nuclei; give it patches to learn from")
        folders = [self.out / MODEL, *(self.out / f"train_{n}" for n in range(self.rounds + 1))]
        if self.rounds:
            folders += [self.pseudo, *(self.out / f"label_{n}" for n in range(1, self.rounds + 1))]
        for folder in folders:
            Run(folder, "training", {}).check()

    def _set_aside_others(self) -> None:
        """Move away the steps of a run with other rounds or another start: the report shows all it finds."""
        made = {f"train_{number}" for number in range(self._first, self.rounds + 1)}
        made |= {f"label_{number}" for number in range(1, self.rounds + 1)}
        for folder in sorted([*self.out.glob("train_*"), *self.out.glob("label_*")]):
            if folder.name not in made and (folder / RECORD).exists():
                log.info("%s/ is no step of this run: it is now in %s/", folder, set_aside([folder]))

    def _train(self, number: int, model: Path | None) -> Path:
        """Train round `number`, with the labels and the weights of `model`, if any; returns its folder."""
        run = Run(self.out / f"train_{number}", "training", self._training_depends_on(number, model))
        is_finished = run.is_finished and is_whole(run.folder, run.facts.get("weights"))
        # The labels of the last round are a result too; those of the others are replaced by them.
        if model is not None and (not is_finished or number == self.rounds):
            self._label(number, model)
        if is_finished:
            log.info("%s/ is finished: nothing that it depends on has changed", run.folder)
            return run.folder
        run.begin()
        sources = dict(self.material.learnt)
        if model is not None:
            sources["pseudo"] = Source(self.pseudo, self.material.unlabelled.names)
        names = [*map(str, sources.values())] + ["generated tissue"] * self.training.generated
        log.info("%s: learns from %s", run.folder.name, ", ".join(names))
        self._fit(run.folder, number, model, sources)
        run.finish(weights=fingerprint(run.folder))
        return run.folder

    def _model(self, number: int) -> Path:
        """The folder of the network after round `number`; that of the start if it labels first."""
        folder = start.find(self.training.start) if number < self._first else None
        return folder or self.out / f"train_{number}"

    def _fit(self, folder: Path, number: int, model: Path | None, sources: dict[str, Source]) -> None:
        """Train in `folder`, where weights and pictures stay."""
        from mrcnn.data.augment import augment
        from mrcnn.selftraining import report
        from mrcnn.selftraining.validation import Validation, best_epoch
        from mrcnn.training.learning_rate import WarmUpAndDecay

        network = self._network(folder, number, model)
        pairs = self.material.validation.read()
        validation = Validation(network.predictor, network.log_dir, list(pairs.values()))
        per_epoch = network.config.STEPS_PER_EPOCH
        epochs = math.ceil(self.training.steps / per_epoch)
        steps = epochs * per_epoch
        whole, done = (self.rounds + 1 - self._first) * steps, (number - self._first) * steps
        rate = WarmUpAndDecay(self.training.learning_rate, whole, done)
        try:
            losses = network.train(
                self._dataset(sources, number),
                None,
                rate,
                epochs,
                augmentation=augment,
                custom_callbacks=[validation] if pairs else [],
            )
        except FloatingPointError as error:
            gentler = self.training.learning_rate / 2
            raise InputError(f"{folder}: {error}, such as --learning-rate {gentler:g}") from error
        report.draw_losses(folder, losses, per_epoch)
        if pairs:
            validation.restore()
            scores = validation.scores
            chosen = best_epoch(scores)
            log.info(
                "%s: AJI %.3f on %d validation patches, by the weights after %d steps",
                folder.name, scores[chosen], len(pairs), chosen * per_epoch,
            )  # fmt: skip
            report.draw_validation(folder, pairs, validation.predict(), list(scores.values()), per_epoch)
        network.save(folder)

    def _network(self, folder: Path, number: int, initial: Path | None) -> MaskRCNN:
        """The network to train in `folder`: as left there, else from `initial`, else from the start."""
        from mrcnn.model import MaskRCNN

        network = MaskRCNN("training", self._config(), folder / LOGS, (self.training.seed + number) % 2**32)
        try:
            network.load_weights(network.find_last())
        except FileNotFoundError:
            initial = initial or start.find(self.training.start)
            if initial is None:
                network.load_weights(network.get_imagenet_weights(), by_name=True)
            else:
                network.load_weights(initial / WEIGHTS)
        return network

    def _dataset(self, sources: dict[str, Source], number: int) -> PatchDataset:
        """The patches of all sources, by the names of `SHARES`, each with its share of a batch."""
        from mrcnn.selftraining.patch_dataset import PatchDataset

        made = PatchDataset()
        for name, source in sources.items():
            made.add_patches(source.folder, source.names, SHARES[name], outlined=name in OUTLINED)
        if self.training.generated:
            made.add_generated(self.training.seed + number, SHARES["generated"])
        made.prepare()
        return made

    def _config(self) -> NucleusConfig:
        config = NucleusConfig()
        config.IMAGES_PER_GPU = self.training.batch
        config.STEPS_PER_EPOCH = min(STEPS_PER_EPOCH, self.training.steps)
        config.MPP = self.mpp
        return config

    def _label(self, number: int, model: Path) -> None:
        """Write what the model in `model` is confident of as masks of the unlabelled patches."""
        depends_on = self._labelling_depends_on(number, model)
        labels = Run(self.pseudo, "labelling", depends_on)
        pictures = Run(self.out / f"label_{number}", "labelling", depends_on)
        names = self.material.unlabelled.names
        missing = not all(patches.is_patch(self.pseudo / name) for name in names)
        if labels.is_finished and pictures.is_finished and not missing:
            log.info("%s/ is finished: nothing that it depends on has changed", self.pseudo)
            return
        self._discard_round_before(number)
        labels.begin()
        pictures.begin()
        todo = [name for name in names if not patches.is_patch(self.pseudo / name)]
        log.info("%s: %s/ labels %d patches", pictures.folder.name, model, len(todo))
        self._write_labels(model, todo)
        labels.finish()
        from mrcnn.selftraining import report

        report.draw_labels(pictures.folder, self.pseudo, names, self.labelling.confidence)
        pictures.finish()

    def _discard_round_before(self, number: int) -> None:
        """Remove the labels of the round before: only those of the last one are a result."""
        if number < 2:
            return
        model = self._model(number - 2)
        if (model / WEIGHTS).exists():
            before = Run(self.pseudo, "labelling", self._labelling_depends_on(number - 1, model))
            if before.state in ("begun", "finished"):
                before.discard()

    def _write_labels(self, model: Path, names: Sequence[str]) -> None:
        from mrcnn.selftraining.pseudo_labels import LabelPatch, Limits

        if not names:
            return
        how, source = self.labelling, self.material.unlabelled.folder.resolve()
        places = model.resolve(), fingerprint(model), source, self.pseudo.resolve()
        task = LabelPatch(*places, Limits(how.confidence, how.agreement), how.doubt, how.views)
        with cluster.workers(self.scheduler) as workers:
            workers.do_all(task, names, desc="labelling", unit="patch")

    def _publish(self, step: Path) -> Path:
        """Copy the result of the last step to `model/`, without its checkpoints, which are much larger."""
        final = Run(self.out / MODEL, "training", {"weights": fingerprint(step)})
        if not final.is_finished or fingerprint(final.folder) != fingerprint(step):
            final.set_aside()
            with atomic_folder(final.folder) as new:
                ignored = shutil.ignore_patterns(LOGS, RECORD)
                shutil.copytree(step, new, dirs_exist_ok=True, ignore=ignored)
                replace(final, folder=new).finish()
        return final.folder

    def _training_depends_on(self, number: int, model: Path | None) -> dict:
        """All that the result of training round `number`, which begins with `model`, depends on."""
        used = {**self.material.learnt, "validation": self.material.validation}
        depends_on = {
            **asdict(self.training),
            "start": start.describe(self.training.start),
            "round": number,
            "rounds": self.rounds,
            "shares": SHARES,
            "outlined": OUTLINED,
            # MPP is a note about the patches: it changes no weight.
            "network": {name: value for name, value in self._config().to_dict().items() if name != "MPP"},
            "patches": {name: source.fingerprint for name, source in used.items()},
        }
        if model is not None:
            depends_on["labelling"] = self._labelling_depends_on(number, model)
        return depends_on

    def _labelling_depends_on(self, number: int, model: Path) -> dict:
        """All that the labels of round `number`, which `model` draws, depend on."""
        return {
            **asdict(self.labelling),
            "round": number,
            "model": fingerprint(model),
            "unlabelled": self.material.unlabelled.fingerprint,
        }
