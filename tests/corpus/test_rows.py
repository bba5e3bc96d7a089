"""How texts become tokens."""

import pytest

from xlharm.config.grid import Prompt
from xlharm.corpus.finding import assets
from xlharm.corpus.rows import answer_row, prompt_ids
from xlharm.errors import UserError
from xlharm.model.tokenizer import light_tokenizer
from xlharm.plan.base_files import folder_base


def test_a_sequence_begins_once() -> None:
    tokenizer = light_tokenizer(folder_base(assets() / "tiny-base"))
    prompt = Prompt(question="Q: {question}\nA:")
    ids = prompt_ids("Who?", prompt=prompt, tokenizer=tokenizer)
    assert (ids[0], ids.count(ids[0])) == (tokenizer.bos, 1)
    twice = Prompt(question="<s>Q: {question}\nA:")
    assert tokenizer.encode("<s>") == [tokenizer.bos]
    for ask in (prompt_ids, lambda q, **how: answer_row(q, "She.", limit=99, **how)):
        with pytest.raises(UserError, match=r"^prompt\.question: it begins with the tokenizer's own first token"):
            ask("Who?", prompt=twice, tokenizer=tokenizer)
