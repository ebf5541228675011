"""Whatever is in the file: it is a configuration, or one line says why not."""

from __future__ import annotations

import string
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incv3d.config.loading import ConfigError, as_builtins, load_config
from incv3d.config.schema import Config

SPELLED_OUT = (Path(__file__).parents[2] / "config/incv3d.yaml").read_bytes()
SECTIONS = {section: list(keys) for section, keys in as_builtins(Config()).items() if keys}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
    | st.dates()
    | st.sampled_from(["tcp://0.0.0.0:0", "tcp://[::1]:5555", "ipc://", "auto", "..", "*" * 50, "1e999"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner),
    max_leaves=8,
)
KEYED = st.sampled_from(sorted(SECTIONS)).flatmap(
    lambda section: st.tuples(
        st.just(section), st.dictionaries(st.sampled_from(SECTIONS[section]) | st.text(max_size=8), VALUES)
    )
)
SOURCES = st.lists(
    st.dictionaries(st.sampled_from(SECTIONS["source"]) | st.text(max_size=8), VALUES) | VALUES, max_size=3
).map(lambda sources: ("sources", sources))
ANYTHING = (
    st.binary(max_size=200)
    | st.text(alphabet=string.printable, max_size=200).map(str.encode)
    | st.lists(KEYED | SOURCES, max_size=3).map(
        lambda pairs: yaml.safe_dump(dict(pairs), allow_unicode=True).encode()
    )
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The file that spells every key out, with some of its bytes replaced."""
    data = bytearray(SPELLED_OUT)
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 30))] = draw(st.binary(max_size=10))
    return bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANYTHING | mutated())
def test_a_file_is_a_configuration_or_one_line_says_why_not(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(load_config(str(path)).config, Config)
    except ConfigError as error:
        said = str(error)
        assert said.startswith(f"{path}"), said
        assert len(said.splitlines()) == 1 and len(said) < 2000, said
