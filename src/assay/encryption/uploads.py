"""Storing a stream as one object, in parts and in flat memory: whole under its name, or not at all.

Specification: ``spec/sealed-object.md``, "In a bucket", step 2.

Example:
    >>> with Upload(store, "a", part_bytes=8 * 2**20) as upload:  # doctest: +SKIP
    ...     upload.write(b"...")
    ...     upload.finish()
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType

from assay.encryption.errors import ObjectTooLargeError
from assay.encryption.object_store import ObjectStore


class Upload:
    """A target to write to. Leaving the block before `finish` returned stores nothing.

    Args:
        store: where to.
        key: the name that the object gets.
        part_bytes: how long a part is; what fits into one is put at once.
        parallel: how many parts are under way at most; each is held in memory.
        if_absent: refuse to overwrite.
        progress: told in this thread how many bytes were stored so far; may raise to stop.

    Attributes:
        stored_bytes: how many bytes are stored.
    """

    def __init__(  # noqa: PLR0913 - options that all have a name and a default
        self,
        store: ObjectStore,
        key: str,
        *,
        part_bytes: int,
        parallel: int = 4,
        if_absent: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        self._store = store
        self._key = key
        self._part_bytes = part_bytes
        self._parallel = parallel
        self._if_absent = if_absent
        self._progress = progress
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._workers: ThreadPoolExecutor | None = None
        self._flying: dict[Future[str], tuple[int, int]] = {}
        self._entity_tags: dict[int, str] = {}
        self._sent = 0
        self.stored_bytes = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)
        if self._upload_id is None:
            return
        # Only now: a part that arrives after the abort would be kept, and paid for.
        try:
            self._store.abort_upload(self._key, self._upload_id)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(
                f"parts of the upload {self._upload_id} may still be stored, abort it: {failure}"
            )

    def write(self, data: bytes) -> None:
        """Take bytes; blocks while as many parts are under way as may be.

        Raises:
            ObjectTooLargeError: more parts than an upload may have.
            assay.encryption.BucketError: a part could not be stored.
        """
        self._buffer += data
        while len(self._buffer) > self._part_bytes:
            part = bytes(memoryview(self._buffer)[: self._part_bytes])
            del self._buffer[: self._part_bytes]
            self._send(part)

    def finish(self) -> None:
        """Store what is left, and give the object its name.

        Raises:
            ObjectExistsError: ``if_absent``, and there is an object of this name.
            assay.encryption.BucketError: something could not be stored.
        """
        rest = bytes(self._buffer)
        if self._upload_id is None:
            self._store.put(self._key, rest, if_absent=self._if_absent)
            self._tell(len(rest))
            return
        self._send(rest)
        while self._flying:
            self._land()
        tags = [self._entity_tags[number] for number in range(1, self._sent + 1)]
        self._store.complete_upload(self._key, self._upload_id, tags, if_absent=self._if_absent)
        self._upload_id = None

    def _send(self, part: bytes) -> None:
        if self._sent >= self._store.most_parts:
            raise ObjectTooLargeError(
                f"expected at most {self._store.most_parts} parts of {self._part_bytes} bytes, "
                "found more; make the bucket with longer parts, or split the object"
            )
        if self._upload_id is None:
            self._upload_id = self._store.begin_upload(self._key)
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._parallel, thread_name_prefix="assay-upload")
        while len(self._flying) >= self._parallel:
            self._land()
        self._sent += 1
        number = self._sent
        future = self._workers.submit(
            self._store.put_part, self._key, self._upload_id, number, part
        )
        self._flying[future] = (number, len(part))

    def _land(self) -> None:
        """Wait until a part has arrived; its error is raised here."""
        done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
        for future in done:
            number, size_bytes = self._flying.pop(future)
            self._entity_tags[number] = future.result()
            self._tell(size_bytes)

    def _tell(self, size_bytes: int) -> None:
        self.stored_bytes += size_bytes
        if self._progress is not None:
            self._progress(self.stored_bytes)
