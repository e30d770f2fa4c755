"""The room runs."""

from __future__ import annotations

import streamlit as st

st.html("runs")
