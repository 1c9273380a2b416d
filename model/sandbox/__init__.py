"""The room a chat template runs in: Jinja's immutable sandbox with budgets that hold.

A template is a stranger's program. Jinja's sandbox keeps it from reaching Python; this package keeps it from eating the
machine. An alarm does not stop `'a' * 2000000000`, one call into C, so everything that can grow is priced before it is
done (values.py, filters.py), and whatever repeats is counted (environment.py), on one bill (meter.py). It knows no
tokenizer, and only template.py imports it, when there is something to render.
"""

from model.sandbox.environment import TemplateEnvironment
from model.sandbox.meter import OverBudgetError, RefusalError, budget

__all__ = ["OverBudgetError", "RefusalError", "TemplateEnvironment", "budget"]
