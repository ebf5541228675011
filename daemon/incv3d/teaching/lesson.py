"""Teach one model from what its owner has: a folder of pictures, own pictures, or both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from incv3d.clock import timestamp
from incv3d.models.entry import ModelEntry
from incv3d.models.taught.model import GoldenPicture, HeadFacts
from incv3d.models.taught.store import TaughtStore
from incv3d.pipeline.loader import LoadedModel
from incv3d.teaching.dataset import FoundFiles, ImageFile, find_files
from incv3d.teaching.errors import UnusableSet
from incv3d.teaching.feature_cache import FeatureCache, cache_key
from incv3d.teaching.features import Collected, Featurizer, collect
from incv3d.teaching.picture_set import PictureSet
from incv3d.teaching.report import Report
from incv3d.teaching.training import Trained, train

Fit = Literal["stretch", "crop"]
Progress = Callable[[str, int, int], None]
"""Called with the step, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What to teach."""

    name: str
    folder: Path | None
    """The owner's pictures, by class; None: only the own pictures of the set."""
    fit: Fit = "stretch"
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
        teacher = _Teacher(lesson, loaded, entry, progress)
        began = time.monotonic()
        collected = teacher.look(files, directory / "features", "pictures")
        tests = None
        if test_files:
            # A cache of their own: it forgets what is not asked for.
            tests = teacher.look(test_files, directory / "test-features", "test pictures")
        took_s = time.monotonic() - began
        before = taught.find(lesson.name)
        result = train(
            collected.examples,
            tests=tests.examples if tests else (),
            before=msgspec.json.decode(before.report(), type=Report) if before else None,
            findings=collected.findings,
            progress=progress,
        )
        report = msgspec.structs.replace(
            result.report, took_s={"pictures": round(took_s, 3), **result.report.took_s}
        )
        outcome = _judge(lesson, report)
        if outcome.kept:
            golden, facts = _facts(lesson, loaded, entry, result, files)
            taught.save(result.head, facts, msgspec.json.encode(report), golden)
            own.mark_taught(state)
        return outcome


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


class _Teacher:
    """Looks at pictures with the base model, each once."""

    def __init__(self, lesson: Lesson, loaded: LoadedModel, entry: ModelEntry, progress: Progress) -> None:
        session = loaded.classifier.session
        crop = entry.crop_fraction
        self._preprocessor = loaded.classifier.preprocessor.fitted(lesson.fit, crop)
        self._run: Featurizer = lambda feed: session.run_with_features(feed)[1]
        self._key = cache_key(loaded.base_sha256, loaded.facts.precision, lesson.fit, crop)
        self._length = loaded.facts.features
        self._least_side = min(entry.width, entry.height)
        self._progress = progress

    def look(self, files: FoundFiles, cache_folder: Path, step: str) -> Collected:
        """Return the pictures among `files` with their features."""
        with FeatureCache(cache_folder, self._key, self._length) as cache:
            return collect(
                files,
                self._preprocessor,
                self._run,
                cache,
                least_side=self._least_side,
                progress=lambda done, total: self._progress(step, done, total),
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
        found = find_files(lesson.folder, least_classes=1 if mine else 2)
    tests = find_files(lesson.test, least_classes=1) if lesson.test else None
    files = (*found.files, *mine)
    if len({each.label for each in files}) == 1:
        raise UnusableSet(
            f"{lesson.name} has only one class, `{files[0].label}`; teaching needs two or more: "
            f"incv3d teach add other PICTURE... --name {lesson.name}"
        )
    return replace(found, files=files), tests


def _facts(
    lesson: Lesson, loaded: LoadedModel, entry: ModelEntry, result: Trained, files: FoundFiles
) -> tuple[bytes, HeadFacts]:
    """Return the golden picture, and the facts about the head."""
    report, golden = result.report, result.golden
    data = b""
    if golden:
        data = next(each for each in files.files if each.name == golden.name).path.read_bytes()
    accuracy = report.accuracy
    return data, HeadFacts(
        name=lesson.name,
        base=loaded.base,
        base_sha256=loaded.base_sha256,
        precision=loaded.facts.precision,
        fit=lesson.fit,
        crop_fraction=entry.crop_fraction,
        classes=result.head.classes,
        counts=tuple(each.images for each in report.classes),
        groups=tuple(each.groups for each in report.classes),
        taught_at=timestamp(time.time()),
        accuracy=accuracy.value if accuracy else None,
        low=accuracy.low if accuracy else None,
        high=accuracy.high if accuracy else None,
        golden=GoldenPicture(sha256=golden.sha256, label=golden.label) if golden else None,
    )
