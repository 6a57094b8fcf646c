"""`imagefolder:DIR`: a folder of images per class, or one folder and a file of labels."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import ClassVar

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, Labels, RawData
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.class_names import (
    SYNSET,
    ClassNames,
    class_file,
    mapping_above,
    read_class_file,
)
from crucibench.data.ground_truth import label_images
from crucibench.data.image_files import read_images
from crucibench.data.image_tree import (
    ImageTree,
    NoClassesError,
    image_roots,
    scan_classes,
    scan_flat,
    scan_unlabelled,
)
from crucibench.data.options import SPLIT, DataOptions
from crucibench.util.errors import InputError

OPTIONS = ("classes", "labels", "links", *SPLIT)


class ImageFolderSource(DataSource):
    """Reads images from ``DIR/CLASS/...``, or from ``DIR/test/CLASS/...`` and ``DIR/train/...``.

    Classes are the folders' names, sorted; ``classes`` gives another order, or names a file of it
    (see `crucibench.data.class_names`). Folders that are called by synsets, as ImageNet's are, get
    the names in ``LOC_synset_mapping.txt`` if that lies in DIR or above. A pattern of ``*`` and
    ``[...]`` names several folders of one kind. A sample's name is its path below the folder of its
    role. Hidden files are passed over.

    With ``labels=FILE`` the images lie in DIR without folders of classes, and the file has the
    label of each (see `crucibench.data.ground_truth`).

    A link that leads out of DIR is refused unless ``links=true``.
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the images, and the files that their labels and classes come from."""
        tree, _, _, beside = _open(uri, base)
        return Sources((*tree.files, *beside))

    @classmethod
    def further_sources(cls, uri: URI, base: Path, labels: Labels) -> Sources:
        """Returns the images, which need not lie in folders of classes."""
        if labels == "optional":
            with contextlib.suppress(NoClassesError):
                return cls.sources(uri, base)
        return Sources(tuple(_unlabelled(uri, base).files))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the images' bytes; they are decoded when ids are made, and batch by batch."""
        like = opening.like
        if like is not None and like.labels == "ignored":
            return _bare(opening)
        try:
            tree, classes, options, beside = _open(opening.uri, opening.base)
        except NoClassesError:
            if like is None:
                raise
            return _bare(opening)
        return read_images(tree, classes, opening, options, beside)


def _bare(opening: DataOpening) -> RawData:
    """Returns the images without labels."""
    options = DataOptions.parse(class_file(opening.uri, opening.base)[0], *OPTIONS)
    tree = _unlabelled(opening.uri, opening.base)
    return read_images(tree, None, opening, options)


def _unlabelled(uri: URI, base: Path) -> ImageTree:
    roots = image_roots(uri.rest, base)
    return scan_unlabelled(uri.rest, roots, links=uri.flag("links"))


def _open(uri: URI, base: Path) -> tuple[ImageTree, ClassNames, DataOptions, tuple[Path, ...]]:
    """Returns the images, their classes, the options and the files beside the images."""
    links = uri.flag("links")
    listed, file = class_file(uri, base)
    options = DataOptions.parse(listed, *OPTIONS)
    roots = image_roots(uri.rest, base)
    given = read_class_file(file) if file else None
    beside = [file] if file else []
    if "labels" in uri.query:
        truth = existing_file(base, uri.query["labels"], "option labels: file")
        beside.append(truth)
        flat = scan_flat(uri.rest, roots, links=links)
        if given is None and options.classes is not None:
            given = ClassNames.of(options.classes)
        if given is None and (mapping := mapping_above(roots[0])):
            given = read_class_file(mapping)
            beside.append(mapping)
        tree, classes = label_images(flat, truth, given)
        return tree, classes, options, tuple(beside)
    tree = scan_classes(uri.rest, roots, links=links)
    if given is None and options.classes is None:
        return tree, *_own(tree, roots[0], options)
    classes = given or ClassNames.of(options.classes or ())
    if stray := [label for label in tree.labels if label not in classes.places()]:
        shown = ", ".join(classes.keys[:20]) + (", ..." if len(classes.keys) > 20 else "")
        raise InputError(f"classes: there is a folder {stray[0]!r}, which is not among {shown}")
    return tree, classes, options, tuple(beside)


def _own(
    tree: ImageTree, root: Path, options: DataOptions
) -> tuple[ClassNames, DataOptions, tuple[Path, ...]]:
    """Returns the classes that the folders are, by ImageNet's names if they are its."""
    if all(SYNSET.fullmatch(label) for label in tree.labels) and (mapping := mapping_above(root)):
        known = read_class_file(mapping)
        places = known.places()
        if all(label in places for label in tree.labels):
            names = [known.names[places[label]] for label in tree.labels]
            return ClassNames.of(tree.labels, names), options, (mapping,)
    return ClassNames.of(tree.labels), options, ()
