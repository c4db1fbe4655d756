"""Keeping what is served in line with configuration files that change, and with what resources depend on.

files, SIGHUP, conditions -> wake -> read -> what differs -> ConfiguredPlugin.configure, Fleet.apply
"""

import asyncio
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence

from kubelet_plugin.config.files import content, files
from kubelet_plugin.config.loading import Form, Loaded, load_all
from kubelet_plugin.config.schema import Resource
from kubelet_plugin.config.watching import FileWatch
from kubelet_plugin.discovery import Roots
from kubelet_plugin.discovery.lookout import Lookout
from kubelet_plugin.errors import ConfigurationError, ConfigurationFileError, Problem
from kubelet_plugin.plugins.conditions import modules, paths, unmet
from kubelet_plugin.plugins.configured import ConfiguredPlugin
from kubelet_plugin.runtime import DevicePlugin, Fleet

logger = logging.getLogger("kubelet_plugin.plugins")

_SETTLE = 0.05  # seconds; who writes several files, or one in several steps, is let finish
_RESYNC = 60.0  # seconds; not everything that changes tells of it
_SHOWN = 5  # names in a log line

_Contents = tuple[tuple[str, int | str], ...]


class Reload:
    """Keeps a fleet in line with configuration files.

    A changed file is applied at once: a resource that says the same as before is not touched, one that says something
    else is offered anew on the stream it has, where that can be, and one that is gone is withdrawn. Files that cannot
    be used change nothing, and neither do files that vanish; what is wrong with them is logged, once for what they say.

    A resource whose `enabled_when` does not hold is not served at all: a resource that was ever registered stays in the
    node's status, with a zero, for as long as the node lives.

    Args:
        files: The files, and directories of them.
        domain: The domain of resource names that have none, where a file does not say it.
        form: Whose vocabulary the files are written in; None: found out for each.
        roots: Where the host's files are seen.
        resources: Resources that are served beside those of the files, complete and checked.
        plugins: Plugins that are, too.
    """

    def __init__(
        self,
        files: Iterable[str],
        *,
        domain: str,
        form: Form | None = None,
        roots: Roots = Roots(),  # noqa: B008 -- it is frozen
        resources: Iterable[Resource] = (),
        plugins: Iterable[DevicePlugin] = (),
    ) -> None:
        self._files = tuple(files)
        self._domain = domain
        self._form = form
        self._roots = roots
        self._resources = tuple(resources)
        self._plugins = tuple(plugins)
        self._loaded = Loaded(())
        self._contents: _Contents = ()
        self._applied: list[Resource] | None = None
        self._served: dict[str, ConfiguredPlugin] = {}
        self._unserved: dict[str, str] = {}
        self._unusable = False
        self._touched = self._asked = False
        self._lookout: Lookout | None = None

    def read(self) -> None:
        """Read the files for the first time.

        Raises:
            ConfigurationFileError: They cannot be used.
        """
        self._contents = _contents(self._files)
        self._loaded = self._load()

    def again(self) -> None:
        """Read the files again, whether or not they seem to have changed, and say what came of it."""
        self._asked = True
        if self._lookout:
            self._lookout.wake()

    async def keep(self, fleet: Fleet) -> None:
        """Serve what was read, then whatever the files say, until cancelled.

        Raises:
            ConfigurationError: What was read cannot be served together.
        """
        with (
            Lookout(host_root=self._roots.host, resync=_RESYNC) as lookout,
            FileWatch(self._files, self._touch) as watch,
        ):
            self._lookout = lookout
            watch.look()
            self._apply(fleet, self._loaded, asked=True)
            self._touch()  # they may have changed before they were watched
            while True:
                everything = await lookout.rest()
                await asyncio.sleep(_SETTLE)
                lookout.looking()
                if anew := self._touched or self._asked or everything:
                    watch.look()
                self._renew(fleet, anew=anew)

    def _touch(self) -> None:
        self._touched = True
        assert self._lookout
        self._lookout.wake()

    def _renew(self, fleet: Fleet, *, anew: bool) -> None:
        """Apply what differs; whatever goes wrong, what is served goes on.

        Args:
            fleet: What is served.
            anew: Whether to look at the files; else only at what resources depend on.
        """
        asked = self._asked
        self._touched = self._asked = False
        if anew:
            contents = _contents(self._files)
            anew = asked or contents != self._contents
            self._contents = contents
        try:
            loaded = self._load() if anew else self._loaded
            self._apply(fleet, loaded, asked=asked)
        except ConfigurationFileError as error:
            self._refuse(error.problems)
        except ConfigurationError as error:
            self._refuse([error])
        except Exception:
            logger.exception("the configuration could not be applied: what is served stays as it is")
        else:
            self._loaded = loaded
            if anew and self._unusable:
                self._unusable = False
                logger.info("the configuration can be used again")

    def _load(self) -> Loaded:
        loaded = load_all(self._files, domain=self._domain, form=self._form)
        for note in loaded.notes:
            logger.warning("%s", note)
        return loaded

    def _refuse(self, problems: Sequence[Problem | ConfigurationError]) -> None:
        self._unusable = True
        for problem in problems:
            logger.error("%s", problem)
        logger.error("the configuration cannot be used: what is served stays as it is until it is mended")

    def _apply(self, fleet: Fleet, loaded: Loaded, *, asked: bool = False) -> None:
        """Bring the fleet in line.

        Raises:
            ConfigurationError: What is wanted cannot be served together; nothing has changed.
        """
        wanted = self._enabled((*self._resources, *loaded.resources))
        if wanted == self._applied and not asked:
            return
        plugins = [self._plugin(resource) for resource in wanted]
        fleet.apply([*self._plugins, *plugins])
        self._applied = wanted
        before = {name: plugin.resource for name, plugin in self._served.items()}
        self._served = {plugin.resource_name: plugin for plugin in plugins}
        for resource, plugin in zip(wanted, plugins, strict=True):
            if resource != plugin.resource:
                plugin.configure(resource)
        _tell(before, {plugin.resource_name: plugin.resource for plugin in plugins}, asked=asked)

    def _plugin(self, resource: Resource) -> ConfiguredPlugin:
        """Return the plugin that serves a resource already, where it can go on to do so, or a new one."""
        plugin = self._served.get(resource.name or "")
        return plugin if plugin and plugin.accepts(resource) else ConfiguredPlugin(resource, roots=self._roots)

    def _enabled(self, resources: Sequence[Resource]) -> list[Resource]:
        """Leave out what depends on what is not there, which is watched for from here on."""
        assert self._lookout
        self._lookout.watch(
            {path for resource in resources for path in paths(resource.enabled_when)},
            nodes_too=any(modules(resource.enabled_when) for resource in resources),
        )
        reasons = {resource.name or "": unmet(resource.enabled_when, self._roots) for resource in resources}
        for name, reason in reasons.items():
            if reason and self._unserved.get(name) != reason:
                logger.info("not served: %s", reason, extra={"resource": name})
        self._unserved = reasons
        return [resource for resource in resources if not reasons[resource.name or ""]]


def _tell(before: Mapping[str, Resource], after: Mapping[str, Resource], *, asked: bool) -> None:
    """Log in one line what differs, and that nothing does only to who asked."""
    changes = {
        "added": [name for name in after if name not in before],
        "changed": [name for name in after if name in before and before[name] != after[name]],
        "removed": [name for name in before if name not in after],
    }
    unchanged = sum(before.get(name) == resource for name, resource in after.items())
    parts = [f"{what} {_listed(names)}" for what, names in changes.items() if names]
    if parts or asked:
        logger.info("the configuration is applied: %s", "; ".join((*parts, f"{unchanged} unchanged")))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _contents(paths: Iterable[str]) -> _Contents:
    """Say in short what files hold, or why that cannot be known: equal while nothing has changed."""
    return tuple(entry for path in paths for entry in _content_of(path))


def _content_of(path: str) -> list[tuple[str, int | str]]:
    try:
        found = files(path)
    except ConfigurationFileError as error:
        return [(path, str(error))]
    entries: list[tuple[str, int | str]] = []
    for file in found:
        try:
            entries.append((file, zlib.crc32(content(file).encode())))
        except ConfigurationFileError as error:
            entries.append((file, str(error)))
    return entries
