"""Measures the texts of a corpus in tokens, for estimates of time."""

from collections.abc import Callable
from statistics import fmean

from tokenizers import Tokenizer

from xlharm.config.grid import Prompt
from xlharm.corpus.folder import language_path
from xlharm.corpus.format import Item, load_language
from xlharm.corpus.streams import questions_of
from xlharm.errors import UserError
from xlharm.plan.base_files import local_folder
from xlharm.plan.sources import BaseSource, CorpusSource
from xlharm.plan.timing import TextSizes

_SAMPLED = 40  # texts of a sort whose tokens are counted
_BYTES_A_TOKEN = 3.5  # where there is no tokenizer to ask


def encoder(base: BaseSource) -> Callable[[str], list[int]] | None:
    """Return a function that returns a text's token ids by the base's tokenizer.json; None without a readable one."""
    folder = local_folder(base)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # noqa: BLE001 - the library raises bare Exceptions; loading the base will name the mistake
        return None
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def counter(base: BaseSource) -> Callable[[str], float]:
    """Return a function that counts a text's tokens: by the base's tokenizer.json, else by its bytes."""
    encode = encoder(base)
    return by_bytes if encode is None else lambda text: float(len(encode(text)))


def by_bytes(text: str) -> float:
    """Estimate a text's tokens from its bytes in UTF-8."""
    return len(text.encode("utf-8", "replace")) / _BYTES_A_TOKEN


def text_sizes(corpus: CorpusSource, prompt: Prompt, *, count: Callable[[str], float]) -> dict[str, TextSizes]:
    """Measure a sample of each language's texts; languages that cannot be read are left out.

    Args:
        corpus: the corpus.
        prompt: how questions and answers are written.
        count: number of tokens of a text.
    """
    sizes = {}
    for language in corpus.digests:
        path = language_path(corpus.path, language)
        try:
            items = load_language(corpus.path, language) if path is not None else ()
        except UserError:  # `run` and `data validate` name what is wrong with it
            continue
        if items:
            sizes[language] = _sizes(items, prompt, count=count)
    return sizes


def _sizes(items: tuple[Item, ...], prompt: Prompt, *, count: Callable[[str], float]) -> TextSizes:
    def mean(texts: list[str]) -> float:
        every = max(1, len(texts) // _SAMPLED)
        return fmean([count(text) + 1 for text in texts[::every]] or [0.0])

    articles = [text for item in items for text in (*item.real, *item.fake)]
    pairs = [pair for item in items for pair in (*item.qa, *item.fake_qa)]
    asked = [question for _, _, question, _ in questions_of(items, limit=len(items))]
    written = [
        prompt.question.replace("{question}", pair.question) + prompt.answer.replace("{answer}", pair.answer)
        for pair in pairs
    ]
    article, pair = mean(articles), mean(written)
    fakes = sum(bool(item.fake) for item in items)
    return TextSizes(
        article=article,
        pair=pair,
        question=mean([prompt.question.replace("{question}", question) for question in asked]),
        questions=len(questions_of(items, limit=1000)),
        scored=round(len(items) * (article + pair) + 5 * fakes * pair),
    )
