"""Four sentiment silos: tweets, product reviews, movie reviews and editorials, rated by people.

Source: C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment
Analysis of Social Media Text", ICWSM 2014; the rated snippets come with the source distribution
of vaderSentiment 3.3.2 (MIT license).
"""

from pathlib import Path

from fedtt.data.archive import fetch_sdist, read_members
from fedtt.data.examples import LabeledTexts, RawData
from fedtt.errors import DataError

REQUIREMENT = "vaderSentiment==3.3.2"
FILENAME = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"

ABOUT = "tweets, product reviews, film reviews, editorials: negative or positive"
LABEL_NAMES = ("negative", "positive")
MIN_RATING = 0.5  # of the mean human rating in [-4, 4]; nearer to 0 people call it neutral

_INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_MEMBERS = {
    "tweets": "hutto_ICWSM_2014/tweets_GroundTruth.txt",
    "products": "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt",
    "movies": "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
    "editorials": "hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt",
}
_MAX_BYTES = 32 * 2**20  # both archives unpack to less than 6 MB


def load_sentiment_silos(cache_dir: Path | None = None) -> RawData:
    """The four silos with labels negative (0) and positive (1); fetched on the first use.

    A snippet whose mean rating lies strictly between -0.5 and 0.5 is left out; the sign of the
    rating is the label. That leaves 3,432 tweets, 2,985 products, 10,072 movies and 2,970
    editorials, with a positive share of .68, .59, .50 and .40.

    Raises:
        DataError: the data cannot be fetched or read.
    """
    path = fetch_sdist(REQUIREMENT, filename=FILENAME, sha256=SHA256, cache_dir=cache_dir)
    return read_silos(path.read_bytes(), where=str(path))


def read_silos(archive: bytes, *, where: str) -> RawData:
    """The silos of a source distribution given as bytes; ``where`` names it in errors.

    Raises:
        DataError: a file is missing, or a line of it is not an id, a rating and a text.
    """
    inner = read_members(archive, [_INNER], where=where, max_bytes=_MAX_BYTES)[_INNER]
    files = read_members(
        inner, list(_MEMBERS.values()), where=f"{where}, {_INNER}", max_bytes=_MAX_BYTES
    )
    texts_by_client, notes = {}, []
    for client_id, member in _MEMBERS.items():
        rated = _parse(files[member], where=member)
        kept = [(rating, text) for rating, text in rated if abs(rating) >= MIN_RATING]
        texts_by_client[client_id] = LabeledTexts(
            texts=tuple(text for _, text in kept),
            labels=tuple(int(rating > 0) for rating, _ in kept),
        )
        notes.append(
            f"{client_id}: {len(rated) - len(kept):,} of {len(rated):,} snippets left out, their "
            f"mean rating lies strictly between -{MIN_RATING} and {MIN_RATING}."
        )
    return RawData(
        name="sentiment-silos",
        label_names=LABEL_NAMES,
        texts_by_client=texts_by_client,
        notes=tuple(notes),
    )


def _parse(data: bytes, *, where: str) -> list[tuple[float, str]]:
    """``(mean rating, text)`` of every line ``id TAB rating TAB text``, UTF-8, CRLF or LF."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise _line_error(where, number, "bytes that are not UTF-8") from error
    rated = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.rstrip("\r").split("\t")
        try:
            _, rating, text = fields[0], float(fields[1]), fields[2]
        except (IndexError, ValueError) as error:
            raise _line_error(where, number, repr(line[:80])) from error
        if len(fields) != 3 or not -4 <= rating <= 4 or not text.strip():
            raise _line_error(where, number, repr(line[:80]))
        rated.append((rating, text))
    return rated


def _line_error(where: str, line: int, got: str) -> DataError:
    return DataError(
        "a line of the sentiment data cannot be read",
        where=f"{where}:{line}",
        got=got,
        expected="an id, a rating between -4 and 4, and a text, separated by tabs",
        fix="delete the archive; it is fetched again on the next run",
    )
