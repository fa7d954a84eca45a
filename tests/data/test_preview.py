from fedtt.data import ClientData, ClientPreview, FederatedData, LabeledTexts, describe


def test_rows_count_splits_shares_and_words() -> None:
    client = ClientData(
        client_id="a",
        train=LabeledTexts(texts=("one two three", "one", "one two"), labels=(1, 1, 0)),
        validation=LabeledTexts(texts=("one two three four",), labels=(1,)),
        test=LabeledTexts(texts=(), labels=()),
    )
    nothing = LabeledTexts(texts=(), labels=())
    idle = ClientData(client_id="idle", train=nothing, validation=nothing, test=nothing)
    data = FederatedData(name="data", label_names=("no", "yes", "maybe"), clients=(client, idle))
    assert describe(data) == [
        ClientPreview(
            client_id="a",
            train=3,
            validation=1,
            test=0,
            label_shares={"no": 0.25, "yes": 0.75, "maybe": 0.0},
            median_words=2.5,  # of 1, 2, 3, 4
        ),
        ClientPreview(
            client_id="idle",
            train=0,
            validation=0,
            test=0,
            label_shares={"no": 0.0, "yes": 0.0, "maybe": 0.0},
            median_words=0.0,
        ),
    ]
