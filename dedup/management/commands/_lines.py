"""What people read about an import."""

from collections.abc import Iterator

from dedup.outcomes import Outcomes
from dedup.results import ConversationResult, FileResult


def line_of_conversation(conversation: ConversationResult) -> str:
    counts = conversation.counts
    return (
        f"{conversation.title or conversation.native_key}: {counts.messages_in_export} messages,"
        f" {counts.new_messages} new, {counts.duplicates_filtered} kept already,"
        f" {counts.revisions} revised; {conversation.total_unique_messages} in all"
    )


def line_of_file(result: FileResult) -> str:
    if result.already_imported:
        return f"{result.path}: imported before"
    counts, number = result.counts, len(result.conversations)
    return (
        f"{result.path}: {counts.messages_in_export} messages in {number}"
        f" conversation{'' if number == 1 else 's'}, {counts.new_messages} new,"
        f" {counts.duplicates_filtered} kept already, {counts.revisions} revised"
    )


def line_of_totals(outcomes: Outcomes) -> str:
    totals, results = outcomes.totals, outcomes.results
    repeated = sum(result.already_imported for result in results)
    return (
        f"{len(results)} files ({repeated} imported before),"
        f" {totals['messages_in_export']} messages: {totals['new_messages']} new,"
        f" {totals['duplicates_filtered']} kept already, {totals['revisions']} revised,"
        f" {totals['unreadable_records']} unreadable records; saved {totals['savings_pct']} %."
    )


def lines_of_report(result: FileResult) -> Iterator[str]:
    """What a legacy state directory was found to be; nothing for other files."""
    report = result.report
    if not report:
        return
    hashes = report["hashes"]
    findings = [f"{hashes['verified']}/{hashes['checked']} hashes verified"]
    for title, names in (
        ("missing", report["missing_files"]),
        ("damaged", report["damaged_files"]),
    ):
        if names:
            findings.append(f"{title}: {', '.join(names)}")
    mismatches = report["watermark_mismatches"]
    findings.append(f"{len(mismatches)} watermark mismatches")
    unlisted = report["hash_file"]
    findings += [
        f"{unlisted[name]} hashes {words}"
        for name, words in (
            ("missing_in_log", "listed and not in the log"),
            ("missing_in_file", "in the log and not listed"),
        )
        if unlisted[name]
    ]
    yield f"{result.path}: {', '.join(findings)}"
    for found in mismatches:
        yield (
            f"  {found['conversation']}: the watermark is {found['watermark']},"
            f" the highest index {found['highest_index']}"
        )
