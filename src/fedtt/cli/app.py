"""The verbs and their options."""

from pathlib import Path
from typing import Annotated

import typer

from fedtt._version import __version__

app = typer.Typer(
    name="fedtt",
    help="Federated fine-tuning of language models with tensor-train adapters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at the data before training on it.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of CONFIG; repeatable."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Delete an earlier run in the run directory.")
]
PlainText = Annotated[
    bool, typer.Option("--plain-text", help="Without keys off this machine: nothing is secret.")
]
A_CONFIG = "A TOML file, or a preset's name."
ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help=A_CONFIG)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A directory that train made.")]


@app.callback(invoke_without_command=True)
def _fedtt(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def init(
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your examples: .csv, .jsonl, .json, .parquet."),
    ] = None,
    text_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: by its name.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: by its name.")
    ] = None,
    client_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who holds a row; default: by its name.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Base model (default: minilm).")
    ] = None,
    method: Annotated[
        str | None, typer.Option(metavar="NAME", help="As in docs/methods.md (default: fedtt).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: the data's name, .toml.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the --out file.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented configuration for a data file; asks for what is not given."""
    from fedtt.cli.init_command import Wanted, init_command

    wanted = Wanted(
        data=data,
        text_column=text_column,
        label_column=label_column,
        client_column=client_column,
        model=model,
        method=method,
        out=out,
    )
    init_command(wanted, overwrite=overwrite, as_json=as_json)


@app.command()
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print this one, as it stands.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the configurations that a CONFIG can name, or print one to start from."""
    from fedtt.cli.presets_command import presets_command

    presets_command(name, as_json=as_json)


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="Would this one run here?")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, what is missing for what, and whether CONFIG fits this machine."""
    from fedtt.cli.doctor_command import doctor_command

    doctor_command(config, overrides=overrides or [], as_json=as_json)


@app.command()
def train(
    config: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help=A_CONFIG)] = None,
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run directory (default: under runs/).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that stopped."),
    ] = None,
    overwrite: Overwrite = False,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="local, or flower: sites on this machine.")
    ] = "local",
    sites: Annotated[
        int | None, typer.Option(min=1, max=1000, help="With --engine flower: how many sites.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train CONFIG's method on CONFIG's clients; Ctrl-C stops with the state saved."""
    from fedtt.cli.begin import Asked, Output
    from fedtt.cli.train_command import train_command

    train_command(
        Asked(
            verb="train",
            config_path=config,
            overrides=overrides or [],
            run=run,
            resume=resume,
            overwrite=overwrite,
        ),
        Output(quiet=quiet, as_json=as_json),
        engine=engine,
        sites=sites,
    )


@app.command()
def serve(
    address: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where sites reach this.")],
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A TOML file with sites.names.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What fedtt keys made for the server.")
    ] = None,
    plain_text: PlainText = False,
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run directory (default: under runs/).")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Go on with a run that stopped."),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train CONFIG's method on the data of the sites that join; see docs/deploy.md."""
    from fedtt.cli.begin import Asked, Output
    from fedtt.cli.serve_command import serve_command

    serve_command(
        Asked(
            verb="serve",
            config_path=config,
            overrides=overrides or [],
            run=run,
            resume=resume,
            overwrite=overwrite,
        ),
        Output(quiet=quiet, as_json=as_json),
        address=address,
        keys=keys,
        plain_text=plain_text,
    )


@app.command()
def join(
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where fedtt serve is.")],
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="This site's examples; they stay here.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of sites.names; a key says it itself.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What fedtt keys made for this site.")
    ] = None,
    plain_text: PlainText = False,
    config: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="Refuse a server whose configuration is another."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Of this machine, such as model.device=cuda."
        ),
    ] = None,
    logs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep Flower's own log here.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep what wire.error_feedback owes, and the secret and the account of "
            "privacy.example, here (default: beside the keys).",
        ),
    ] = None,
    max_epsilon: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            max=1e6,
            help="Train no further than this, of every example, in all runs together; "
            "and measure nothing.",
        ),
    ] = None,
    delta: Annotated[
        float, typer.Option(min=1e-15, max=0.1, help="The delta of --max-epsilon.")
    ] = 1e-5,
    patience: Annotated[
        float,
        typer.Option(
            min=1, max=1e8, help="Give up when the server says nothing for these seconds."
        ),
    ] = 24 * 3600.0,
    share: Annotated[str | None, typer.Option(hidden=True)] = None,
    quiet: Quiet = False,
) -> None:
    """Take part in the run of a server with this machine's own data, until it is over."""
    from fedtt.cli.join_command import Joining, join_command

    join_command(
        Joining(
            server=server,
            data=data,
            share=share,
            name=name,
            keys=keys,
            plain_text=plain_text,
            agreed=config,
            overrides=overrides or [],
            logs=logs,
            state=state,
            max_epsilon=max_epsilon,
            delta=delta,
            patience=patience,
        ),
        quiet=quiet,
    )


@app.command()
def compare(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file; see docs/compare.md.")
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where it all goes (default: runs/CONFIG)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Run cells whose settings changed again.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare methods over settings and seeds; stopped, the same command goes on."""
    from fedtt.cli.compare_command import compare_command

    compare_command(
        config,
        overrides=overrides or [],
        out=out,
        overwrite=overwrite,
        quiet=quiet,
        as_json=as_json,
    )


@app.command()
def runs(
    place: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="A directory of runs, or one run.")
    ] = Path("runs"),
    deep: Annotated[
        bool, typer.Option("--deep", help="Runs in directories below, too: of comparisons.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List runs: state, method, rounds, result, bytes up and down, epsilon, when."""
    from fedtt.cli.runs_command import runs_command

    runs_command(place, deep=deep, as_json=as_json)


@app.command()
def evaluate(
    run: RunPath,
    split: Annotated[str, typer.Option(metavar="NAME", help="test, validation or train.")] = "test",
    as_json: Json = False,
) -> None:
    """Measure a run's global model on every client's data."""
    from fedtt.cli.saved_run_commands import evaluate_command

    evaluate_command(run, split=split, as_json=as_json)


@app.command()
def predict(
    run: RunPath,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to answer.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answer every row: .csv, .jsonl, .json, .parquet."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where --file goes, with its answers beside each row."),
    ] = None,
    text_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of --file (default: the run's own text column)."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the --out file.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a run's model for texts' classes or numbers; put -- before a text with a dash."""
    from fedtt.cli.saved_run_commands import FileQuestion, predict_command, predict_file_command

    asked = FileQuestion(file=file, out=out, text_column=text_column, overwrite=overwrite)
    if asked.check(texts or []):
        predict_file_command(run, asked, as_json=as_json)
    else:
        predict_command(run, texts or [], as_json=as_json)


@app.command()
def export(
    run: RunPath,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="A new directory.")],
    name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="peft, merged or onnx.")
    ] = "peft",
    as_json: Json = False,
) -> None:
    """Write a run's model for others to load, with a model card."""
    from fedtt.cli.export_command import export_command

    export_command(run, out, name=name, as_json=as_json)


@app.command()
def generate(
    run: RunPath,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What the model goes on from.")],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Write at most so many tokens.")
    ] = 64,
    temperature: Annotated[
        float,
        typer.Option(
            min=0.0, max=1e6, help="0: always the most probable token; 1: as the model is."
        ),
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Draw from the likeliest tokens up to this.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of what is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Let a run's model write; needs a run of a causal language model."""
    from fedtt.cli.generate_command import generate_command

    generate_command(
        run,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        as_json=as_json,
    )


@app.command()
def report(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Runs, directories of runs, or one directory of fedtt compare."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The page (default: report.html in RUN; of several, here)."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write what runs came to as one HTML page, which needs no network; see docs/report.md."""
    from fedtt.cli.report_command import report_command

    report_command(places, out=out, as_json=as_json)


@app.command()
def watch(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's directory; it may still have to come.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to serve it; 0 takes a free one.")
    ] = 0,
    in_browser: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Serve a run's report on this machine while it goes on; Ctrl-C ends the page, not the run."""
    from fedtt.cli.watch_command import watch_command

    watch_command(run, port=port, in_browser=in_browser, as_json=as_json)


@app.command()
def cost(
    model: Annotated[
        str, typer.Option(metavar="ID|DIR|FILE", help="Alias, hub id, directory or config.json.")
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="As in docs/methods.md; repeatable (default: fedtt, lora).",
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A key of the method, such as rank=8; changes the methods that have it.",
        ),
    ] = None,
    codec: Annotated[
        str, typer.Option(metavar="NAME", help="What updates travel in: a wire.codec.")
    ] = "plain",
    downlink: Annotated[
        str, typer.Option(metavar="NAME", help="What the server's steps travel in: wire.downlink.")
    ] = "plain",
    task: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="classification or causal (default: the model's own)."),
    ] = None,
    num_labels: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Classes, for classification.")
    ] = 2,
    clients: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="Clients that take part in a round.")
    ] = 4,
    rounds: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Rounds of the whole run.")
    ] = 10,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Texts in a local step.")
    ] = 16,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000_000,
            help="Tokens of each text (default: 128, or the model's positions).",
        ),
    ] = None,
    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="Of the base model: float32, bfloat16 or float16.")
    ] = "float32",
    as_json: Json = False,
) -> None:
    """Compare what methods send, and what a client holds, with a model; loads no weights."""
    from fedtt.cli.cost_command import CostQuestion, cost_command

    question = CostQuestion(
        model=model,
        methods=method or CostQuestion.methods,
        overrides=overrides or [],
        codec=codec,
        downlink=downlink,
        task=task,
        num_labels=num_labels,
        clients=clients,
        rounds=rounds,
        batch_size=batch_size,
        max_length=max_length,
        dtype=dtype,
    )
    cost_command(question, as_json=as_json)


@app.command()
def keys(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where they go; keep it as you keep passwords.")
    ],
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="NAME",
            help="Name or address under which sites reach the server; repeatable.",
        ),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", metavar="NAME", help="A site that may join; repeatable."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the keys named here; the old ones end."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a certificate for the server and a key pair for every site; see docs/deploy.md."""
    from fedtt.cli.keys_command import keys_command

    keys_command(
        directory, hosts=hosts or [], sites=sites or [], overwrite=overwrite, as_json=as_json
    )


@data_app.command()
def preview(config: ConfigPath, overrides: Overrides = None, as_json: Json = False) -> None:
    """Show every client's examples: how many, how labeled, how long."""
    from fedtt.cli.preview_command import preview_command

    preview_command(config, overrides=overrides or [], as_json=as_json)


@data_app.command("list")
def list_tasks(as_json: Json = False) -> None:
    """Show every task that data.source can name: what it is, its metrics and classes."""
    from fedtt.cli.list_command import list_command

    list_command(as_json=as_json)
