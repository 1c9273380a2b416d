"""What is measured, and never a timed test. It computes with the BLAS that engines load, which has to come before MLX:
so before any of these modules is imported."""

from app.engine.blas import load_fast_blas

load_fast_blas()
