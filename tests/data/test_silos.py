from collections.abc import Callable, Mapping

import pytest

from fedtt.data import RawData, find_cached, load_sentiment_silos, split_clients
from fedtt.data.silos import FILENAME, SHA256, read_silos
from fedtt.errors import DataError

TarOf = Callable[[Mapping[str, bytes]], bytes]

FILES = {
    "tweets": b"1\t2.7\tGood day.\r\n2\t-0.5\tBad day.\r\n3\t0.49\tA day.\r\n4\t0.5\tNice",
    "amazonReviewSnippets": b"1_1\t-0.9\tno picture .\r\n1_2\t-.3\tso so\r\n",
    "movieReviewSnippets": '1\t4\tcliché, "and" good \r\n\r\n2\t-4\tbad\r\n'.encode(),
    "nytEditorialSnippets": b"1_1\t0\tneutral\r\n1_2\t-1e0\twrong\r\n",
}


def sdist(tar_of: TarOf, files: Mapping[str, bytes]) -> bytes:
    inner = tar_of({f"hutto_ICWSM_2014/{n}_GroundTruth.txt": data for n, data in files.items()})
    name = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
    return tar_of({"vaderSentiment-3.3.2/setup.py": b"", name: inner})


def test_ratings_become_labels_and_neutral_snippets_are_dropped_aloud(tar_of: TarOf) -> None:
    raw = read_silos(sdist(tar_of, FILES), where="tiny")
    assert raw.label_names == ("negative", "positive")
    assert {k: (v.texts, v.labels) for k, v in raw.texts_by_client.items()} == {
        "tweets": (("Good day.", "Bad day.", "Nice"), (1, 0, 1)),
        "products": (("no picture .",), (0,)),
        "movies": (('cliché, "and" good ', "bad"), (1, 0)),
        "editorials": (("wrong",), (0,)),
    }
    assert raw.notes[0] == (
        "tweets: 1 of 4 snippets left out, their mean rating lies strictly between -0.5 and 0.5."
    )
    assert [note.split(" ", 3)[:3] for note in raw.notes] == [
        ["tweets:", "1", "of"],
        ["products:", "1", "of"],
        ["movies:", "0", "of"],
        ["editorials:", "1", "of"],
    ]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"2\tgood\ttext", "'2.tgood.ttext'"),
        (b"2\t1.5", "'2.t1.5'"),
        (b"2\t1.5\ta\tb", "'2.t1.5.ta.tb'"),
        (b"2\t1.5\t ", "'2.t1.5.t '"),
        (b"2\t4.5\ttext", "'2.t4.5.ttext'"),
        (b"2\tnan\ttext", "'2.tnan.ttext'"),
        (b"2\t1.5\t\xe9t\xe9", "bytes that are not UTF-8"),
    ],
)
def test_a_broken_line_is_named(tar_of: TarOf, line: bytes, shown: str) -> None:
    files = {**FILES, "tweets": b"1\t2.7\tGood day.\r\n" + line}
    place = "hutto_ICWSM_2014/tweets_GroundTruth.txt:2"
    with pytest.raises(DataError, match=rf"where: {place}\n  got: {shown}\n  expected: an id"):
        read_silos(sdist(tar_of, files), where="tiny")


def test_a_missing_file_is_named(tar_of: TarOf) -> None:
    files = {name: data for name, data in FILES.items() if name != "tweets"}
    with pytest.raises(DataError, match=r"lacks a file(.|\n)*tweets_GroundTruth.txt"):
        read_silos(sdist(tar_of, files), where="tiny")


@pytest.fixture(scope="module")
def silos() -> RawData:
    if find_cached(FILENAME, sha256=SHA256) is None:
        pytest.skip("the sentiment silos are not in the cache; tests fetch nothing")
    return load_sentiment_silos()


def test_the_real_silos_have_the_documented_counts(silos: RawData) -> None:
    # 4,200 - 768, 3,708 - 723, 10,605 - 533, 5,190 - 2,220 rated snippets
    clients = silos.texts_by_client
    assert {client_id: len(texts) for client_id, texts in clients.items()} == {
        "tweets": 3432,
        "products": 2985,
        "movies": 10072,
        "editorials": 2970,
    }
    shares = {k: round(sum(v.labels) / len(v), 2) for k, v in clients.items()}
    assert shares == {"tweets": 0.68, "products": 0.59, "movies": 0.50, "editorials": 0.40}
    assert all("\r" not in text for texts in clients.values() for text in texts.texts)
    assert any("é" in text for text in clients["movies"].texts)


def test_the_real_silos_split_without_loss_and_say_what_repeats(silos: RawData) -> None:
    data = split_clients(silos, seed=0)
    assert sum(map(len, data.clients)) == 3432 + 2985 + 10072 + 2970
    assert data.notes[4:] == (
        "editorials: 39 of 2,970 examples repeat another text of the client; they are kept, all "
        "copies of a text in one split.",
        "movies: 2 of 10,072 examples repeat another text of the client; they are kept, all "
        "copies of a text in one split.",
        "products: 8 of 2,985 examples repeat another text of the client; they are kept, all "
        "copies of a text in one split.",
        "tweets: 60 of 3,432 examples repeat another text of the client; they are kept, all "
        "copies of a text in one split.",
        "2 texts are held by more than one client; each is in the same split at all of its "
        "holders.",
    )
