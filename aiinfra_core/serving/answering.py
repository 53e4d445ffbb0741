"""`Serving`: asks the service where traffic goes, and says for each request who answers it."""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from aiinfra_core.artifact_store import Location
from aiinfra_core.client import Client
from aiinfra_core.domain.rollout import Arm
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import AiInfraError, EvidenceBroken, Unavailable
from aiinfra_core.evidence.rollout_predicates import RoutedArm, Routing
from aiinfra_core.evidence.routing import check
from aiinfra_core.serving import choosing, kept, trusted, verified
from aiinfra_core.serving.choosing import Chosen, Served, Table
from aiinfra_core.serving.kept import Kept
from aiinfra_core.serving.outcomes import ANSWER_SECONDS, Outcomes
from aiinfra_core.serving.standing import Standing
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)
POLL_SECONDS = 2.0
_PATIENCE_SECONDS = 5.0


class Serving:
    """One model in one environment. Threads may share it; a process that forks starts it afterwards."""

    def __init__(
        self,
        model: str,
        environment: str,
        *,
        client: Client,
        trust: Trust | Path,
        places: Sequence[Location],
        cache: Path,
        poll_seconds: float = POLL_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Prepare to serve; nothing is asked yet.

        Args:
            model: its name.
            environment: as the service calls it.
            client: the service, asked with little patience; whoever made it closes it.
            trust: whose signatures count; a path is that of a pinned `N.root.json` in its trust directory.
            places: where artifacts may be read from.
            cache: a folder for artifacts and what was accepted last; several processes may share it.
            poll_seconds: how often the service is asked.
            answer_seconds: a request without an outcome for so long failed.
            clock: what time it is.

        Raises:
            BadInput: `answer_seconds` is no time.
        """
        self.model, self.environment = model, environment
        self._client, self._trust, self._places, self._cache = client, trust, tuple(places), cache
        own = cache / environment / model
        self._file, self._outcomes = own / "routing.json", Outcomes(own / "outcomes", answer_seconds)
        self._poll_seconds, self._clock, self._own = poll_seconds, clock or partial(datetime.now, UTC), False
        self._table: Table | None = None
        self._seen: tuple[int, int] | None = None
        self._kept: Kept | None = None  # what the table was made of
        self._trusted: Trust | None = None  # and whose signatures counted then
        self._etag: str | None = None
        self._problem: AiInfraError | None = None
        self._refused: AiInfraError | None = None
        self._paths: dict[tuple[str, str], Path] = {}
        self._thread: threading.Thread | None = None
        self._asking, self._ended = threading.Lock(), threading.Event()

    @classmethod
    def from_environment(
        cls,
        model: str,
        environment: str,
        *,
        server: str | None = None,
        trust: Trust | Path | None = None,
        cache: Path | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> Self:
        """Return one as the environment says: AI_INFRA_SERVER and who asks, AI_INFRA_TRUST_ROOT, AI_INFRA_ARTIFACT_ROOT, AI_INFRA_HOME.

        Raises:
            Misconfigured, BadInput: a setting is missing or wrong; `answer_seconds` is no time.
        """
        settings = Settings()
        made = cls(
            model,
            environment,
            client=Client.from_environment(server, timeout=_PATIENCE_SECONDS, deadline=_PATIENCE_SECONDS),
            trust=trust or settings.trust_root or trusted.pinned(()),
            places=verified.places_of(settings),
            cache=cache or settings.home / "serving",
            answer_seconds=answer_seconds,
        )
        made._own = True
        return made

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Find out what to serve, then go on asking in the background.

        Raises:
            AiInfraError: the service cannot be asked, or what it says does not verify, and neither does what was kept.
        """
        self._take_up()
        self.refresh()
        if self._table is None:
            self._let_go()
            raise self._no()
        self._outcomes.take_over()
        self._thread = threading.Thread(target=self._go_on, name=f"serving {self.model}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop asking, and report what was counted if the service answers; what it does not take is reported after the next start.

        A request that is still open has failed: end it before.
        """
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._outcomes.expire(math.inf)
        self.report_outcomes()
        self._outcomes.close()
        self._let_go()

    def choose(self, unit: str | None = None) -> Chosen:
        """Return who answers a request, with the path of the verified bytes; `unit` is the request's own id, or the user it is for.

        The request counts from now on: report what came of it, or it has failed after `answer_seconds`, or when this process ends.

        Raises:
            EvidenceBroken: what was served is no longer trusted.
            Unavailable: nothing is served yet; start it first.
        """
        chosen = self.peek(unit)
        self._outcomes.expect(chosen)
        return chosen

    def peek(self, unit: str | None = None) -> Chosen:
        """Return who would answer a request, which is not counted; a label that comes later can be given to it.

        Raises:
            EvidenceBroken, Unavailable: as `choose`.
        """
        table = self._table
        if table is None:
            raise self._no()
        return choosing.choose(table, unit, self._clock())

    def report(self, chosen: Chosen, *, failed: bool = False, seconds: float | None = None, wrong: bool | None = None) -> bool:
        """Count what came of a request: whether it failed, how long it took, whether its answer was wrong where that is known.

        It is counted once, whatever is reported again; the answer is whether it counts for a rollout.
        """
        return self._outcomes.count(chosen, failed=failed, seconds=seconds, wrong=wrong)

    def label(self, chosen: Chosen, *, wrong: bool) -> bool:
        """Count what became known later: whether the answer to a request proved wrong."""
        return self._outcomes.label(chosen, wrong=wrong)

    @contextmanager
    def answering(self, unit: str | None = None) -> Iterator[Chosen]:
        """Choose, and report when the block ends: it failed if it raised, and took as long as the block did."""
        chosen, begun, failed = self.choose(unit), perf_counter(), True
        try:
            yield chosen
            failed = False
        finally:
            self.report(chosen, failed=failed, seconds=perf_counter() - begun)

    def standing(self) -> Standing:
        """Return what is served now, and what is wrong."""
        table, (sequence, changes) = self._table, self._seen or (0, 0)
        shared = table.shared if table is not None else None
        return Standing(
            champion=table.champion if table is not None else None,
            challenger=shared.challenger if shared is not None and shared.below and self._clock() < shared.expires_at else None,
            sequence=sequence,
            changes=changes,
            problem=None if self._problem is None else str(self._problem),
            reporting=self._outcomes.problem or self._outcomes.unrecorded,
            batches_waiting=self._outcomes.outbox.waiting,
            batches_given_up=self._outcomes.outbox.given_up,
            unanswered=self._outcomes.unanswered,
        )

    def refresh(self) -> None:
        """Ask the service once; whatever goes wrong is told by `standing`."""
        with self._asking:
            problem = self._problem
            try:
                trust = trusted.opened(self._trust)
                self._refuse_untrusted(trust)
                answer = self._client.routing(self.environment, self.model, known=self._etag)
                if answer is not None:
                    self._accept(*answer, trust)
                self._problem = None
            except AiInfraError as error:
                self._problem = error
                if str(error) != str(problem):
                    logger.warning("%s in %s: %s", self.model, self.environment, error)

    def report_outcomes(self) -> None:
        """Send what was counted, as far as the service takes it."""
        shared = self._table.shared if self._table is not None else None
        self._outcomes.report(self._client.observe, None if shared is None else (shared.rollout_id, shared.step))

    def _go_on(self) -> None:
        while not self._ended.wait(self._poll_seconds):
            try:
                self.refresh()
                self.report_outcomes()
            except Exception:  # what nobody foresaw must not end the polling: without it nothing would ever be rolled back here
                logger.exception("Asking for %s in %s failed.", self.model, self.environment)

    def _let_go(self) -> None:
        if self._own:
            self._client.close()

    def _take_up(self) -> None:
        """Begin with what was accepted last, if it still verifies as of then."""
        try:
            known = kept.load(self._file)
            if known is not None:
                self._seen, trust = known.seen, trusted.opened(self._trust)
                self._serve(self._checked(known, trust), known, trust)
        except AiInfraError as error:
            self._problem = error

    def _refuse_untrusted(self, trust: Trust) -> None:
        """Serve no longer what these keys do not vouch for any more; a routing that expired is judged as of when it was accepted."""
        if self._table is not None and self._kept is not None and trust is not self._trusted:
            try:
                self._checked(self._kept, trust)
            except EvidenceBroken as error:
                self._table, self._etag, self._refused = None, None, error
                raise
            self._trusted = trust

    def _checked(self, known: Kept, trust: Trust) -> Routing:
        return check(known.bundle, trust, environment=self.environment, model=self.model, now=known.accepted_at)

    def _accept(self, bundle: bytes, etag: str, trust: Trust) -> None:
        now = self._clock()
        routing = check(bundle, trust, environment=self.environment, model=self.model, now=now, seen=self._seen)
        self._seen = (routing.sequence, routing.changes)
        known = Kept(bundle, now, self._seen)
        self._etag = None  # until all of it is served, it is asked for again
        try:
            self._serve(routing, known, trust)
        finally:
            if self._kept is known:
                kept.save(self._file, known)
        self._etag = etag

    def _serve(self, routing: Routing, known: Kept, trust: Trust) -> None:
        self._stop_sharing_other_than(routing)
        alone = Table(self._served(Arm.CHAMPION, routing.champion), None)
        self._kept, self._trusted, self._refused = known, trust, None
        if routing.challenger is None or (routing.challenger.digest_kind, routing.challenger.checksum) not in self._paths:
            self._table = alone
        if routing.challenger is not None:
            challenger = self._served(Arm.CHALLENGER, routing.challenger)
            self._table = Table(alone.champion, choosing.shared(routing, challenger))

    # A challenger that is to have no traffic has none from now on, however long the bytes of another model take to come.
    def _stop_sharing_other_than(self, routing: Routing) -> None:
        table = self._table
        if table is not None and table.shared is not None and str(table.shared.rollout_id) != routing.rollout_id:
            self._table = table.alone()

    def _served(self, arm: Arm, routed: RoutedArm) -> Served:
        key = (routed.digest_kind, routed.checksum)
        if key not in self._paths:
            self._paths[key] = verified.kept(self._cache / "artifacts", routed, self._places)
        return Served(arm, self.model, routed.version, routed.artifact_id, routed.checksum, self._paths[key])

    def _no(self) -> AiInfraError:
        unasked = Unavailable("service", f"Nothing is served of {self.model} in {self.environment} yet; start it first.")
        return (self._refused or self._problem or unasked).with_traceback(None)
