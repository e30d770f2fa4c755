"""The room rate."""

from __future__ import annotations

import streamlit as st

st.html("rate")
