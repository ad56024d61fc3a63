"""How one message's questions are put to the cache: once each, and in the way that suits who asks.

A message asks for all keys together, by its deadline; what goes on in the background asks part by part;
and who may not wait any more takes what is in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.chunks import chunks
from ldapmilter.directory.cache.answers import Answers
from ldapmilter.directory.keys import Key
from ldapmilter.directory.searches import CHUNK
from ldapmilter.directory.searching import Searching
from ldapmilter.errors import DeadlineExceeded, DirectoryUnavailable, StillReading, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping

    from ldapmilter.directory.backend.store import Deadline, Store
    from ldapmilter.directory.cache.entries import Cache, Load
    from ldapmilter.directory.keys import CacheKey
    from ldapmilter.directory.searches import Search
    from ldapmilter.directory.trace import Trace


def note(keys: Iterable[CacheKey], trace: Trace) -> None:
    """Let what is being worked out depend on some of the answers that were read."""
    slots = dict.fromkeys(trace.slots[key] for key in keys if key in trace.slots)
    for recorder in trace.recorders:
        recorder.update(slots)


class Answering:
    """Answers from the cache, or by a search of the store."""

    def __init__(self, store: Store, cache: Cache) -> None:
        """Ask a store through a cache."""
        self._store = store
        self._cache = cache

    def fetch(
        self,
        keys: Collection[CacheKey],
        load: Callable[[Collection[CacheKey], Search], Mapping[CacheKey, Any]],
        trace: Trace,
        *,
        again: bool = False,
        every_key_matters: bool = True,
        noted: bool = True,
    ) -> dict[CacheKey, Any]:
        """Return the values of keys by what searches for those that are missing.

        Args:
            keys: what is asked for.
            load: searches for keys.
            trace: of the message.
            again: whether to ask about absent keys once more, the next server first.
            every_key_matters: whether a key that could not be asked is a failure of the message.
            noted: whether what is worked out depends on these answers.

        Raises:
            DirectoryUnavailable: one that matters could not be asked, unless the trace is lenient.
        """

        def loader(wanted: Collection[Hashable], deadline: Deadline) -> Mapping[Hashable, Any]:
            searching = Searching(self._store, deadline, trace, next_server_first=again)
            keys = [key for key in wanted if isinstance(key, (Key, str))]
            return {key: value for key, value in load(keys, searching).items()}  # noqa: C416 - another type of key

        found = self.answers(keys, loader, trace, past_negative=again, noted=noted)
        if every_key_matters:
            trace.fail(key for key in keys if key not in found)
        return found

    def answers(
        self,
        keys: Collection[CacheKey],
        loader: Load,
        trace: Trace,
        *,
        past_negative: bool = False,
        noted: bool = True,
    ) -> dict[CacheKey, Any]:
        """Return the values of the keys that have been answered, to this message before or now."""
        known = trace.slots
        wanted = [
            key
            for key in keys
            if key not in trace.unanswered and ((slot := known.get(key)) is None or (past_negative and not slot.value))
        ]
        if wanted:
            answers = self._ask(wanted, loader, trace, past_negative=past_negative)
            trace.stale = trace.stale or answers.stale
            trace.unanswered.update(answers.failures)
            known.update(answers.slots)
            for key in answers.failures:
                known.pop(key, None)
        if noted:
            note(keys, trace)
        return {key: known[key].value for key in keys if key in known}

    def _ask(self, keys: list[CacheKey], loader: Load, trace: Trace, *, past_negative: bool) -> Answers:
        """Return what is in memory, or the directory says, in the way that suits the caller."""
        if trace.background is not None:
            return self._in_turns(keys, loader, trace, past_negative=past_negative)
        if trace.memory_only:
            answers = self._cache.held(keys, stale=False)
            missing = StillReading("not read yet")
            answers.failures = {key: missing for key in keys if key not in answers.slots}
            return answers
        trace.weigh(len(keys))
        trace.count.wanted += len(keys)
        answers = self._cache.get_many(keys, loader, trace.deadline, past_negative=past_negative)
        too_large = [key for key, error in answers.failures.items() if isinstance(error, TooLarge)]
        if too_large and trace.room is not None:
            raise answers.failures[too_large[0]]
        if too_large:  # of another caller's search, which this one joined
            for key in too_large:
                del answers.failures[key]
            answers.add(self._cache.get_many(too_large, loader, trace.deadline, past_negative=past_negative))
        trace.count.looked_up += len(answers.slots)
        return answers

    def _in_turns(self, keys: list[CacheKey], loader: Load, trace: Trace, *, past_negative: bool) -> Answers:
        """Ask part by part: no caller waits for more than one part, and what was answered is kept."""
        answers = Answers()
        trace.count.wanted += len(keys)
        failure: DirectoryUnavailable | None = None
        for part in chunks(keys, CHUNK):
            if failure is None:
                found = self._cache.get_many(part, loader, trace.patience(), past_negative=past_negative, here=True)
                if found.failures and not any(
                    isinstance(error, (DeadlineExceeded, StillReading)) for error in found.failures.values()
                ):
                    # One connection that breaks does not put everybody off who waits for thousands of others.
                    found = self._cache.get_many(part, loader, trace.patience(), past_negative=past_negative, here=True)
                if found.stale or found.failures:
                    failure = next(iter(found.failures.values()), DirectoryUnavailable("the directory has failed"))
            else:  # the others would fare no better: what is old has to do
                found = self._cache.held(part, stale=True)
                found.failures = {key: failure for key in part if key not in found.slots}
            trace.count.looked_up += len(part)
            answers.add(found)
        return answers
