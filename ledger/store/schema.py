"""The tables of the SQLite store.

``block.raw``, ``fraud``, ``registry`` and ``pending`` are what is kept; all else is derived from the raw
blocks, and ``ledger reindex`` builds it anew.
"""

from __future__ import annotations

APPLICATION_ID = 0x4441_474C
"""SQLite's application_id of a ledger: "DAGL"."""

VERSION = 1
"""SQLite's user_version of this schema."""

KEPT = """
CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    issuer INTEGER NOT NULL REFERENCES issuer (id),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    raw BLOB NOT NULL
) STRICT;
CREATE INDEX block_by_place ON block (issuer, seq);
CREATE TABLE issuer (
    id INTEGER PRIMARY KEY,
    public_key BLOB NOT NULL UNIQUE CHECK (length(public_key) = 32)
) STRICT;
CREATE TABLE fraud (
    issuer BLOB NOT NULL,
    seq INTEGER NOT NULL,
    first BLOB NOT NULL,
    second BLOB NOT NULL,
    PRIMARY KEY (issuer, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE registry (
    epoch INTEGER PRIMARY KEY,
    raw BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT;
CREATE TABLE pending (
    id INTEGER PRIMARY KEY,
    uno_id INTEGER NOT NULL,
    boot_epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    frame BLOB NOT NULL,
    digest BLOB NOT NULL,
    UNIQUE (uno_id, boot_epoch, counter)
) STRICT;
"""

DERIVED = """
CREATE TABLE edge (
    parent INTEGER NOT NULL,
    child INTEGER NOT NULL,
    PRIMARY KEY (parent, child)
) STRICT, WITHOUT ROWID;
CREATE TABLE tip (block INTEGER PRIMARY KEY) STRICT;
CREATE TABLE head (block INTEGER PRIMARY KEY) STRICT;
CREATE TABLE void (block INTEGER PRIMARY KEY) STRICT;
CREATE TABLE reading (
    uno_id INTEGER NOT NULL,
    boot_epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    block INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (uno_id, boot_epoch, counter, block)
) STRICT, WITHOUT ROWID;
"""

DERIVED_TABLES = ("edge", "tip", "head", "void", "reading")
"""Each has a fixed order of columns, by which verify compares it."""
