"""Group-bys that several sections need."""

import pandas as pd


def groups(table: pd.DataFrame, by: str = "cell") -> dict[str, pd.DataFrame]:
    """The rows of every cell (or whatever `by` names), in their order."""
    return {str(name): rows for name, rows in table.groupby(by, sort=False)}


def means(table: pd.DataFrame, metric: str, by: str = "cell") -> dict[str, float]:
    """The mean of a column for every cell (or whatever `by` names) of which there is any."""
    return {name: float(rows[metric].mean()) for name, rows in groups(table, by).items() if rows[metric].notna().any()}
