"""Model fields whose columns hold no readable word; migrations may import them.

A table or a column of sealed things is never renamed: they are bound to both names. Keep the old
ones with `db_table` and `db_column`.
"""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import FieldError, ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Col
from django.db.models.query_utils import DeferredAttribute

from common.encryption.data_keys import key_to_open_with, key_to_seal_with
from common.encryption.envelope import Place, open_sealed, seal, version_of
from common.encryption.errors import (
    DecryptionError,
    DestroyedKeyError,
    EncryptionError,
    MissingKeyError,
    SealedFieldError,
)
from common.encryption.lookup import normalized_email, open_from_lookup, seal_for_lookup
from common.encryption.purposes import Purpose

if TYPE_CHECKING:
    SealedColumn = models.BinaryField[str | None, str | None]
    EmailColumn = models.EmailField[str, str]
else:
    SealedColumn = models.BinaryField
    EmailColumn = models.EmailField


class Sealed:
    """What a sealed column holds, as `values()` gives it. It shows nothing."""

    __slots__ = ("_blob",)

    def __init__(self, blob: bytes) -> None:
        self._blob = blob

    def __bytes__(self) -> bytes:
        return self._blob

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self._blob == other._blob

    def __hash__(self) -> int:
        return hash(self._blob)

    def __repr__(self) -> str:
        return "<Sealed>"

    def __reduce__(self) -> Any:
        return Sealed, (self._blob,)


class _Text:
    """The text of one field of an instance, and sealed bytes that may say the same.

    While it is `unchanged` since it was read, copies and pickles of the instance hold the sealed
    bytes only.
    """

    __slots__ = ("sealed", "text", "unchanged")

    def __init__(self, text: str, sealed: Sealed | None, *, unchanged: bool = False) -> None:
        self.text = text
        self.sealed = sealed
        self.unchanged = unchanged

    def __repr__(self) -> str:
        return "<Sealed>"

    def __reduce__(self) -> Any:
        if self.unchanged and self.sealed is not None:
            return self.sealed.__reduce__()
        return _Text, (self.text, self.sealed)


class SealedAttribute(DeferredAttribute):
    """Opens the bytes when the attribute is read, and keeps them until then."""

    field: "SealedTextField"

    def __get__(self, instance: models.Model | None, owner: Any = None) -> Any:
        if instance is None:
            return self
        name = self.field.attname
        if name not in instance.__dict__:
            self._load(instance)
        value = instance.__dict__[name]
        if isinstance(value, Sealed):
            value = _Text(self.field.open(value, instance), value, unchanged=True)
            instance.__dict__[name] = value
        return value.text if isinstance(value, _Text) else value

    def __set__(self, instance: models.Model, value: Any) -> None:
        name = self.field.attname
        if isinstance(value, str):
            before = instance.__dict__.get(name)
            sealed = before.sealed if isinstance(before, _Text) else before
            value = _Text(value, sealed)
        elif not (value is None or isinstance(value, Sealed)):
            raise TypeError(f"{self.field} holds text or None, not {type(value).__name__}.")
        instance.__dict__[name] = value

    def _load(self, instance: models.Model) -> None:
        """A deferred value comes sealed, so that it need not be sealed anew when it is saved."""
        name, rows = self.field.attname, type(instance)._base_manager  # noqa: SLF001 - as Django does
        sealed = rows.filter(pk=instance.pk).values_list(name, flat=True).get()
        instance.__dict__[name] = sealed


class _SealedColumn(Col):
    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        raise FieldError(f"{self.target} is sealed: nothing can be ordered by it or made of it.")


class SealedTextField(SealedColumn):
    """Text sealed with the data key of its owner and purpose, bound to its table, column and row.

    `owner` is the attribute that holds the id of the person. None is stored as NULL. It can only
    be written by saving an instance (or bulk_create), and only asked whether it is NULL. What did
    not change is not sealed again.
    """

    descriptor_class = SealedAttribute

    def __init__(
        self, *args: Any, purpose: Purpose | str, owner: str = "user_id", **options: Any
    ) -> None:
        self.purpose = Purpose(purpose)
        self.owner = owner
        super().__init__(*args, **options)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        options["purpose"] = self.purpose.value
        if self.owner != "user_id":
            options["owner"] = self.owner
        return name, path, args, options

    def open(self, sealed: Sealed, instance: models.Model) -> str:
        """The text, if it was sealed for this very row. Raises an EncryptionError."""
        place, blob = self._place_in(instance), bytes(sealed)
        key = key_to_open_with(place.user_id, self.purpose, version_of(blob))
        return open_sealed(key, blob, place).decode()

    def pre_save(self, model_instance: models.Model, add: bool) -> Sealed | None:  # noqa: FBT001 - Django's signature
        # Deferred fields are not saved, so it is there.
        value = model_instance.__dict__[self.attname]
        if isinstance(value, Sealed):
            self._check_place(value, model_instance)
            return value
        if value is None:
            return None
        if value.sealed is None or not self._says(value.sealed, value.text, model_instance):
            value = _Text(value.text, self._seal(value.text, model_instance))
            model_instance.__dict__[self.attname] = value
        sealed: Sealed = value.sealed
        return sealed

    def from_db_value(self, value: Any, *_: Any) -> Sealed | None:
        return None if value is None else Sealed(bytes(value))

    def to_python(self, value: Any) -> Any:
        return value

    def get_db_prep_value(
        self,
        value: Any,
        connection: BaseDatabaseWrapper,
        prepared: bool = False,  # noqa: FBT001 - Django's signature
    ) -> Any:
        if value is None or isinstance(value, Sealed):
            blob = None if value is None else bytes(value)
            return super().get_db_prep_value(blob, connection, prepared)
        raise FieldError(f"{self} is sealed for one row: set it on the instance and save that.")

    def value_to_string(self, obj: models.Model) -> str:
        raise FieldError(f"{self} is sealed: it cannot be serialized.")

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        raise FieldError(f"{self} is sealed: it can only be asked whether it is null (isnull).")

    def get_transform(self, lookup_name: str) -> Any:
        raise FieldError(f"{self} is sealed: nothing can be made of it in the database.")

    def get_col(self, alias: str, output_field: Any = None) -> Col:
        # Filters say what the column's type is. What comes without is selected, or ordered by.
        return (_SealedColumn if output_field is None else Col)(alias, self, output_field)

    def _seal(self, text: str, instance: models.Model) -> Sealed:
        place = self._place_in(instance)
        key = key_to_seal_with(place.user_id, self.purpose)
        return Sealed(seal(key, text.encode(), place))

    def _says(self, sealed: Sealed, text: str, instance: models.Model) -> bool:
        """Whether the bytes open here and say this. Their key may have been rolled back since."""
        try:
            return self.open(sealed, instance) == text
        except EncryptionError:
            return False

    def _check_place(self, sealed: Sealed, instance: models.Model) -> None:
        """Bytes that nobody read are not written to another row, where they would be lost."""
        try:
            self.open(sealed, instance)
        except DecryptionError as error:
            raise SealedFieldError(
                f"{self} was sealed for another row or person, or is damaged: read it before the"
                " instance gets another key or owner."
            ) from error
        except (DestroyedKeyError, MissingKeyError):
            # Of no use to anybody, and no reason not to save the rest.
            return

    def _place_in(self, instance: models.Model) -> Place:
        owner = getattr(instance, self.owner)
        if instance.pk is None or owner is None:
            raise SealedFieldError(f"{self} needs the instance's key and {self.owner} first.")
        meta = self.model._meta  # noqa: SLF001 - Django's name for public things
        # However it is written.
        pk = str(meta.pk.to_python(instance.pk))
        return Place(meta.db_table, str(self.column), pk, UUID(str(owner)))


class LookUpEmailField(EmailColumn):
    """An e-mail address, stored so that only an equal address finds it.

    Every row that holds it holds the same text, so that unique constraints and indexes do what
    they do for plain addresses. Addresses have no case here.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("max_length", 512)
        super().__init__(*args, **options)

    def get_prep_value(self, value: Any) -> Any:
        text = super().get_prep_value(value)
        return seal_for_lookup(normalized_email(text), self._sealed_for) if text else text

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        return open_from_lookup(value, self._sealed_for) if value else value

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        super().validate(value, model_instance)
        if value and self.max_length and len(self.get_prep_value(value)) > self.max_length:
            raise ValidationError("This address is too long.", code="max_length")

    def get_lookup(self, lookup_name: str) -> Any:
        known = {"exact": "exact", "iexact": "exact", "in": "in", "isnull": "isnull"}
        if lookup_name in known:
            return super().get_lookup(known[lookup_name])
        raise FieldError(f"{self} is sealed: it is found by exact, iexact, in and isnull only.")

    def get_transform(self, lookup_name: str) -> Any:
        raise FieldError(f"{self} is sealed: nothing can be made of it in the database.")

    @property
    def _sealed_for(self) -> str:
        meta = self.model._meta  # noqa: SLF001 - Django's name for public things
        return f"{meta.db_table}.{self.column}"


class _SealedEmailField(LookUpEmailField):
    """One that migrations take for the EmailField that it was."""

    def deconstruct(self) -> Any:
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.EmailField", args, options


def seal_email_field(field: "models.EmailField[Any, Any]") -> None:
    """From here on the EmailField of somebody else's model is a LookUpEmailField.

    Its migrations stay as they are; its `max_length` must be 512.
    """
    field.__class__ = _SealedEmailField
