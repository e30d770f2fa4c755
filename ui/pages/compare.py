"""The room compare."""

from __future__ import annotations

import streamlit as st

st.html("compare")
