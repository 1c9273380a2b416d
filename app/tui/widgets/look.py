"""How the transcript looks: its parts, and a style for each from the theme's variables.

The parts are component classes, `transcript--text` and so on, so that a theme or a style sheet can change
them.
"""

STYLES = """
Transcript {
    width: 1fr;
    height: 1fr;
    overflow-x: hidden;
    overflow-y: auto;
    scrollbar-gutter: stable;
    scrollbar-size-vertical: 1;
    background: $background;
    color: $foreground;
    & > .transcript--text { color: $foreground; }
    & > .transcript--inline-code { color: $text-warning; background: $surface; }
    & > .transcript--link { color: $text-primary; text-style: underline; }
    & > .transcript--target { color: $text-muted; }
    & > .transcript--h1 { color: $text-primary; text-style: bold underline; }
    & > .transcript--h2 { color: $text-primary; text-style: bold; }
    & > .transcript--h3 { text-style: bold; }
    & > .transcript--h4 { text-style: bold italic; }
    & > .transcript--quote-bar { color: $text-secondary; }
    & > .transcript--marker { color: $text-primary; text-style: bold; }
    & > .transcript--rule { color: $text-disabled; }
    & > .transcript--code { color: $foreground; background: $surface; }
    & > .transcript--code-edge { color: $text-disabled; background: $surface; }
    & > .transcript--code-label { color: $text-muted; background: $panel; }
    & > .transcript--code-copy { color: $text-muted; background: $panel; text-style: underline; }
    & > .transcript--code-keyword { color: $text-accent; background: $surface; }
    & > .transcript--code-type { color: $text-secondary; background: $surface; }
    & > .transcript--code-name { color: $text-primary; background: $surface; text-style: bold; }
    & > .transcript--code-string { color: $text-success; background: $surface; }
    & > .transcript--code-number { color: $text-warning; background: $surface; }
    & > .transcript--code-comment { color: $text-muted; background: $surface; text-style: italic; }
    & > .transcript--code-deleted { color: $text-error; background: $surface; }
    & > .transcript--user { color: $text-primary; text-style: bold; }
    & > .transcript--user-bar { color: $primary; }
    & > .transcript--assistant { color: $text-accent; text-style: bold; }
    & > .transcript--switch { color: $text-primary; text-style: bold; }
    & > .transcript--place { color: $text-muted; }
    & > .transcript--menu { color: $text-muted; text-style: bold; }
    & > .transcript--attachment { color: $text-secondary; }
    & > .transcript--current { color: $text-success; text-style: bold; }
    & > .transcript--found { color: $text; background: $warning-muted; text-style: underline; }
    & > .transcript--present { color: $text; background: $warning-muted; text-style: bold underline reverse; }
    & > .transcript--fold { color: $text-muted; text-style: italic; }
    & > .transcript--reasoning { color: $text-muted; }
    & > .transcript--reasoning-bar { color: $text-disabled; }
    & > .transcript--notice { color: $text-muted; }
    & > .transcript--note { color: $text-muted; }
    & > .transcript--error { color: $text-error; }
    & > .transcript--below { color: $text; background: $primary; text-style: bold; }
    &:ansi {
        /* The terminal's own colours have no shades. */
        & > .transcript--target, & > .transcript--rule, & > .transcript--code-label,
        & > .transcript--code-comment,
        & > .transcript--fold, & > .transcript--reasoning, & > .transcript--reasoning-bar,
        & > .transcript--notice, & > .transcript--note, & > .transcript--code-edge,
        & > .transcript--place { text-style: dim; }
        & > .transcript--found, & > .transcript--present { color: ansi_default; background: ansi_default; }
    }
}
"""

PARTS = (
    "text",
    *("inline-code", "link", "target"),
    *("h1", "h2", "h3", "h4"),
    *("quote-bar", "marker", "rule"),
    *("code", "code-edge", "code-label", "code-copy"),
    *("code-keyword", "code-type", "code-name", "code-string", "code-number", "code-comment", "code-deleted"),
    *("user", "user-bar", "assistant", "notice"),
    *("switch", "place", "menu", "attachment", "current"),
    *("found", "present"),
    *("fold", "reasoning", "reasoning-bar"),
    *("note", "error", "below"),
)
"""The keys of the palette."""
