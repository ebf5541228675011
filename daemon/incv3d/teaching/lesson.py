"""Teach one model from what its owner has: a folder of pictures, own pictures, or both."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from incv3d.clock import timestamp
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.taught.model import GoldenPicture, HeadFacts, TaughtModel
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.loader import LoadedModel
from incv3d.teaching.dataset import FoundFiles, ImageFile, find_files, printable
from incv3d.teaching.errors import TeachingError, UnusableSet
from incv3d.teaching.examples import Example
from incv3d.teaching.feature_cache import FeatureCache, cache_key
from incv3d.teaching.features import Collected, collect
from incv3d.teaching.fitting import Fit, choose_fit
from incv3d.teaching.picture_set import PictureSet
from incv3d.teaching.report import Report, read_report
from incv3d.teaching.training import Trained, train

Progress = Callable[[str, int, int], None]
"""Called with the step, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What to teach."""

    name: str
    folder: Path | None
    """The owner's pictures, by class; None: only the own pictures of the set."""
    fit: Fit | None = None
    """None: as before; at first, that in which the pictures are recognized better."""
    test: Path | None = None
    """Pictures that only test, by class."""
    keep: bool = True
    """Whether to keep the head that is taught; False: only report."""
    force: bool = False
    """Whether to keep it even if it is no better than guessing, or worse than the one before."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a lesson."""

    report: Report
    kept: bool
    problem: str = ""
    """Why it was not kept, though that was asked for."""


def give(
    lesson: Lesson, loaded: LoadedModel, entry: ModelEntry, taught: TaughtStore, progress: Progress
) -> Outcome:
    """Teach a head, and keep it if it is good enough.

    Interrupted at any time, it goes on from the features that it has when it is called again.

    :param loaded: the base model.
    :param entry: what is known about it.
    :raises TeachingError: the set cannot teach, or something cannot be written.
    :raises ModelError: the name is taken, another process teaches it, or the store cannot be written.
    """
    if not loaded.facts.features:
        raise UnusableSet(
            f"{loaded.base} cannot be taught: it has no layer of features that can be found; use another "
            f"--base, such as efficientnet-lite0"
        )
    with taught.teaching(lesson.name) as directory:
        own = PictureSet(directory / "pictures")
        state = own.state()
        files, test_files = find_lesson_files(lesson, own)
        before = taught.find_whole(lesson.name)
        began = time.monotonic()
        reader = _FeatureReader(loaded, entry, directory, progress)
        fit = lesson.fit or (before.facts.fit if before else choose_fit(entry.fit, files, reader.try_fit))
        collected = reader.look(fit, files, "features", "pictures")
        tests = None
        if test_files:
            # A cache of their own: it forgets what is not asked for.
            tests = reader.look(fit, test_files, "test-features", "test pictures")
        took_s = time.monotonic() - began
        result = train(
            collected.examples,
            tests=tests.examples if tests else (),
            before=report_before(before) if before else None,
            findings=collected.findings,
            progress=progress,
        )
        report = msgspec.structs.replace(
            result.report, took_s={"pictures": round(took_s, 3), **result.report.took_s}
        )
        outcome = _judge(lesson, report)
        if outcome.kept:
            golden, facts = _facts(lesson.name, fit, loaded, entry, result, files)
            taught.save(result.head, facts, msgspec.json.encode(report), golden)
            own.mark_taught(state)
        return outcome


def report_before(model: TaughtModel) -> Report | None:
    """Return the report of the head before; None: it is damaged, and teaching again replaces it."""
    try:
        return read_report(model.report())
    except (ModelError, TeachingError):
        return None


def _judge(lesson: Lesson, report: Report) -> Outcome:
    if not lesson.keep:
        return Outcome(report, kept=False)
    if report.can_take_over or lesson.force:
        return Outcome(report, kept=True)
    if report.better_than_guessing is False:
        problem = "it is not better than guessing"
    else:
        problem = "it is worse than the one before on the same pictures"
    return Outcome(report, kept=False, problem=problem)


@dataclass(frozen=True, slots=True)
class _FeatureReader:
    """Computes the features of pictures with the base model, once for each."""

    loaded: LoadedModel
    entry: ModelEntry
    directory: Path
    """The folder of the taught model, for the caches."""
    progress: Progress

    def try_fit(self, fit: Fit, sample: FoundFiles) -> Collected:
        """Return pictures with their features, to compare this way of fitting them with the other."""
        return self.look(fit, sample, "features", f"try {fit}", is_sample=True)

    def look(
        self, fit: Fit, files: FoundFiles, cache: str, step: str, *, is_sample: bool = False
    ) -> Collected:
        """Return the pictures among `files` with their features."""
        classifier, facts, crop = self.loaded.classifier, self.loaded.facts, self.entry.crop_fraction
        key = cache_key(self.loaded.base_sha256, facts.precision, fit, crop)
        with FeatureCache(self.directory / cache, key, facts.features) as features:
            return collect(
                files,
                classifier.preprocessor.fitted(fit, crop),
                lambda feed: classifier.session.run_with_features(feed)[1],
                features,
                least_side=min(self.entry.width, self.entry.height) // 2,
                is_sample=is_sample,
                progress=lambda done, total: self.progress(step, done, total),
            )


def find_lesson_files(lesson: Lesson, own: PictureSet) -> tuple[FoundFiles, FoundFiles | None]:
    """Return the files that teach, of the owner's folder and of the set itself, and those that test.

    :raises TeachingError: they cannot teach, or cannot be read.
    :raises ModelError: a class has a name that is not allowed.
    """
    pictures = own.pictures()
    mine = tuple(ImageFile(each.path, each.class_name, f"{each.class_name}/{each.id}") for each in pictures)
    if lesson.folder is None:
        if not mine:
            raise UnusableSet(
                f"{lesson.name} has no pictures yet; to teach from a folder of them: "
                f"incv3d teach FOLDER --name {lesson.name}"
            )
        found = FoundFiles(())
    else:
        if mine and not lesson.folder.exists():
            raise UnusableSet(
                f"{printable(lesson.folder)}: is gone; put it back, or teach without its pictures: "
                f"incv3d teach '' --name {lesson.name}"
            )
        found = find_files(lesson.folder, least_classes=1 if mine else 2)
    files = (*found.files, *mine)
    if len({each.label for each in files}) == 1:
        raise UnusableSet(
            f"{lesson.name} has only one class, `{files[0].label}`; teaching needs two or more: "
            f"incv3d teach add other PICTURE... --name {lesson.name}"
        )
    return replace(found, files=files), _find_tests(lesson.test, {each.label for each in files})


def _find_tests(folder: Path | None, classes: set[str]) -> FoundFiles | None:
    if folder is None:
        return None
    try:
        tests = find_files(folder, least_classes=1)
        if strange := sorted({each.label for each in tests.files} - classes):
            raise UnusableSet(
                f"{printable(folder)}: `{strange[0]}` is not a class of the pictures that teach "
                f"({', '.join(sorted(classes))})"
            )
    except TeachingError as error:
        # The folder may have been given long ago.
        raise UnusableSet(
            f"test pictures: {error}; give another --test FOLDER, or --test '' for none"
        ) from None
    return tests


def read_again(golden: Example, files: FoundFiles) -> bytes:
    """Return the golden picture; empty: its owner has removed or changed it while it taught."""
    path = next(each.path for each in files.files if each.name == golden.name)
    try:
        data = path.read_bytes()
    except OSError:
        return b""
    return data if hashlib.sha256(data).hexdigest() == golden.sha256 else b""


def _facts(
    name: str, fit: Fit, loaded: LoadedModel, entry: ModelEntry, result: Trained, files: FoundFiles
) -> tuple[bytes, HeadFacts]:
    """Return the golden picture, and the facts about the head."""
    report, golden = result.report, result.golden
    data = read_again(golden, files) if golden else b""
    accuracy = report.accuracy
    return data, HeadFacts(
        name=name,
        base=loaded.base,
        base_sha256=loaded.base_sha256,
        precision=loaded.facts.precision,
        fit=fit,
        crop_fraction=entry.crop_fraction,
        classes=result.head.classes,
        counts=tuple(each.images for each in report.classes),
        groups=tuple(each.groups for each in report.classes),
        taught_at=timestamp(time.time()),
        accuracy=accuracy.value if accuracy else None,
        low=accuracy.low if accuracy else None,
        high=accuracy.high if accuracy else None,
        golden=GoldenPicture(sha256=golden.sha256, label=golden.label) if golden and data else None,
    )
