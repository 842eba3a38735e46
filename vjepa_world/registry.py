"""Names of planners, tasks, formats and objectives, with the implementation and the configuration of each.

```python
PLANNERS: Registry[type[Planner]] = Registry("planner", group="vjepa_world.planners")


@PLANNERS.register("cem", config=CEMConfig)
class CEM: ...


PLANNERS["cem"]  # the class
PLANNERS.config("cem")  # CEMConfig
```

A package that cannot import this module keeps a plain dictionary, which a registry searches as well (`also`). A user's
package registers with the decorator, or declares an entry point in its `pyproject.toml`, which is imported when its
name is first looked up:

```toml
[project.entry-points."vjepa_world.planners"]
mine = "my_package.planning:MyPlanner"
```
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any, Generic, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from vjepa_world.errors import ConfigError, VJEPAWorldError, nearest

T = TypeVar("T")
V = TypeVar("V")

#: The key of a configuration that selects an entry: `planner.kind=cem`.
KIND = "kind"


#: How many entries all registries have taken, and the mappings of entries that are kept elsewhere.
_registered = 0
_elsewhere: list[Mapping[str, Any]] = []


def registrations() -> int:
    """Return how many entries have been registered in this process."""
    return _registered + sum(map(len, _elsewhere))


class RegistryError(VJEPAWorldError):
    """A registration is not allowed, or a registered name cannot be imported."""


@dataclasses.dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered implementation.

    Attributes:
        target: The implementation, or `module:name`, which is imported when it is looked up.
        config: The dataclass of its options, or `module:name`; None where it has none.
    """

    target: T | str
    config: type | str | None = None


class Registry(Generic[T]):
    """Implementations of one kind by name. Iterating yields the names, in the order of registration.

    Args:
        what: What the entries are, in the singular, as errors name them: "planner".
        group: Group of the entry points that other packages may declare; empty for none.
        also: Entries that are kept elsewhere: name -> implementation, or an object with
            `target` and `config` as :class:`Entry` has them. The mapping is searched at each
            lookup, so that names added later are found. An implementation may name its dataclass in an
            attribute `Config`.
    """

    def __init__(self, what: str, *, group: str = "", also: Mapping[str, T | Entry[T]] | None = None) -> None:
        self.what, self.group = what, group
        self._own: dict[str, Entry[T]] = {}
        self._also: Mapping[str, Any] = {} if also is None else also
        _elsewhere.append(self._also)

    def register(self, name: str, *, config: type | str | None = None) -> Callable[[V], V]:
        """Return a decorator that registers a class or function under `name`.

        Args:
            name: The name, as the command line and YAML give it.
            config: The dataclass of its options. One with a field `kind: Literal[NAME] = NAME` can be selected by
                `kind` in a configuration that has a field `Annotated[Base, registry]`.

        Raises:
            RegistryError: If the name is taken, or the dataclass's `kind` is another.
        """

        def decorate(target: V) -> V:
            self.add(name, cast("T", target), config=config)
            return target

        return decorate

    def add(self, name: str, target: T | str, *, config: type | str | None = None) -> None:
        """Register `target` under `name`; strings `module:name` are imported at the first lookup.

        Raises:
            RegistryError: If the name is taken, or the dataclass's `kind` is another.
        """
        taken = self._own.get(name) or self._also.get(name)
        if taken is not None:
            raise RegistryError(
                f"the {self.what} '{name}' is registered already, as {_described(taken)}; register "
                f"{_described(target)} under another name."
            )
        if isinstance(config, type):
            self._check_config(name, config)
        global _registered
        _registered += 1
        self._own[name] = Entry(target, config)

    def __getitem__(self, name: str) -> T:
        """Return the implementation called `name`.

        Raises:
            ConfigError: If there is none; the error names the nearest.
            RegistryError: If its module cannot be imported.
        """
        target = self._entry(name).target
        return cast("T", self._imported(name, target)) if isinstance(target, str) else target

    def config(self, name: str) -> type | None:
        """Return the dataclass of an entry's options; None where it has none.

        Raises:
            ConfigError: If there is no such entry; the error names the nearest.
            RegistryError: If its module cannot be imported.
        """
        found = self._entry(name).config
        return cast("type", self._imported(name, found)) if isinstance(found, str) else found

    def configs(self) -> dict[str, type]:
        """Return the dataclasses that a field `kind` selects, by name; those that cannot be imported are left out."""
        found = {}
        for name in self:
            with contextlib.suppress(RegistryError):  # it is raised where the name is given
                config = self.config(name)
                if config is not None and KIND in {field.name for field in dataclasses.fields(config)}:
                    found[name] = config
        return found

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return pydantic's schema of `Annotated[Base, registry]`: the dataclass that `kind` selects."""
        from pydantic_core import core_schema

        choices = {name: handler.generate_schema(config) for name, config in self.configs().items()}
        return core_schema.tagged_union_schema(choices, discriminator=KIND)

    def name_of(self, config: object) -> str:
        """Return the name of the entry whose options `config` (an instance or the dataclass) holds.

        Raises:
            ConfigError: If it is the dataclass of none.
        """
        wanted = config if isinstance(config, type) else type(config)
        for name in self:
            if self.config(name) is wanted:
                return name
        raise ConfigError(f"{wanted.__name__} holds the options of no {self.what}; {nearest('', self)}")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._also, *self._own, *self._entry_points()]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._also or name in self._entry_points()

    def _entry(self, name: str) -> Entry[T]:
        """Return an entry; one that only an entry point declares is imported and registered first."""
        if name not in self._own and name not in self._also and name in self._entry_points():
            self._load(self._entry_points()[name])
        if name in self._own:
            return self._own[name]
        if name not in self._also:
            raise ConfigError(f"unknown {self.what} '{name}'; {nearest(name, self)}")
        found = self._also[name]
        is_entry = hasattr(found, "target") and hasattr(
            found, "config"
        )  # of a package that does not import this one
        return cast("Entry[T]", found) if is_entry else Entry(found, getattr(found, "Config", None))

    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        if not self.group:
            return {}
        return {point.name: point for point in metadata.entry_points(group=self.group)}

    def _load(self, point: metadata.EntryPoint) -> None:
        try:
            target = point.load()
        except Exception as error:  # of a foreign package: any
            raise RegistryError(
                f"the {self.what} '{point.name}' of the installed package "
                f"'{point.dist.name if point.dist else 'unknown'}' cannot be imported from {point.value} "
                f"({type(error).__name__}: {error}); repair or uninstall that package."
            ) from error
        if point.name not in self._own:  # its module may have used the decorator
            self.add(point.name, target, config=getattr(target, "Config", None))

    def _imported(self, name: str, path: str) -> Any:
        module, _, attribute = path.partition(":")
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise RegistryError(
                f"the {self.what} '{name}' cannot be imported from {path}: {error}"
            ) from error
        if dataclasses.is_dataclass(found) and isinstance(found, type):
            self._check_config(name, found)
        return found

    def _check_config(self, name: str, config: type) -> None:
        """Refuse a dataclass that another `kind` selects; one without the field is selected by no configuration."""
        if not dataclasses.is_dataclass(config):
            raise RegistryError(
                f"the options of the {self.what} '{name}' are {config.__name__}, which is not a dataclass."
            )
        if KIND not in {field.name for field in dataclasses.fields(config)}:
            return
        kind = get_type_hints(config)[KIND]
        allowed = get_args(kind) if get_origin(kind) is Literal else ()
        if allowed != (name,):
            raise RegistryError(
                f"the {self.what} '{name}' has the options {config.__name__}, whose kind is {kind}; write "
                f"kind: Literal['{name}'] = '{name}'."
            )


def _described(entry: Any) -> str:
    target = entry.target if isinstance(entry, Entry) else entry
    if isinstance(target, str):
        return target
    return f"{target.__module__}.{target.__qualname__}" if hasattr(target, "__qualname__") else repr(target)
