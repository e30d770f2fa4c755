"""The room stagedoor."""

from __future__ import annotations

import streamlit as st

st.html("stagedoor")
