"""Tokens and the values of session cookies: made, read, kept, compared."""

from __future__ import annotations

import pytest

from cos.backend.auth import secret


class TestToken:
    def test_its_id_can_be_read_and_its_hash_is_all_that_is_kept(self) -> None:
        made = secret.new_token()
        assert secret.token_id(made.text) == made.id
        assert made.hash == secret.hash_of(made.text)
        assert secret.is_secret(made.text, made.hash)
        assert made.text.encode() not in made.hash

    def test_no_two_are_alike(self) -> None:
        made = [secret.new_token() for _ in range(100)]
        assert len({one.id for one in made}) == len({one.text.split("_", 2)[2] for one in made}) == 100

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda text: text + "\n",
            lambda text: " " + text,
            lambda text: text[:-1],
            lambda text: text + "A",
            lambda text: text.upper(),
            lambda text: text.replace("cos_", "sos_", 1),
            lambda text: text[:-1] + "é",
            lambda text: text[:5] + "g" + text[6:],
            lambda _text: "",
        ],
    )
    def test_any_other_text_is_none(self, spoil) -> None:
        assert secret.token_id(spoil(secret.new_token().text)) is None

    def test_another_secret_under_the_same_id_is_wrong(self) -> None:
        made, other = secret.new_token(), secret.new_token()
        forged = f"cos_{made.id}_{other.text.removeprefix(f'cos_{other.id}_')}"
        assert secret.token_id(forged) == made.id
        assert not secret.is_secret(forged, made.hash)

    def test_it_is_found_in_an_address(self) -> None:
        text = secret.new_token().text.encode()
        assert secret.TOKEN_IN_URL.search(b"a=1&token=" + text)
        assert not secret.TOKEN_IN_URL.search(b"module=cos_0123456789abcde_x")


class TestSession:
    def test_it_is_no_token_and_the_other_way_round(self) -> None:
        session, token = secret.new_session(), secret.new_token()
        assert secret.session_id(session.text) == session.id
        assert secret.token_id(session.text) is None
        assert secret.session_id(token.text) is None

    def test_what_its_forms_carry_is_its_own(self) -> None:
        one, other = secret.new_session().text, secret.new_session().text
        assert secret.same(secret.csrf_of(one), secret.csrf_of(one))
        assert not secret.same(secret.csrf_of(one), secret.csrf_of(other))
        assert not secret.same("", secret.csrf_of(one))
        assert not secret.same("é" * 64, secret.csrf_of(one))
