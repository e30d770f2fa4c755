"""The room graph."""

from __future__ import annotations

import streamlit as st

st.html("graph")
