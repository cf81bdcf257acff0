"""The only code that imports verl, Ray and vLLM."""
