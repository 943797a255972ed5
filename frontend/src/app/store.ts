/// The app's state: the session as the client knows it, one notice, and what the services said.
import { configureStore, createSlice, type PayloadAction } from '@reduxjs/toolkit';
import { useDispatch, useSelector } from 'react-redux';
import type { Snapshot } from '../client/index.ts';
import { api } from './api.ts';
import { client } from './client.ts';

const session = createSlice({
  name: 'session',
  initialState: (): Snapshot => client.snapshot,
  reducers: { sessionChanged: (_, { payload }: PayloadAction<Snapshot>) => payload },
});

/** Something that has been done, or could not be, that no form shows. */
export interface Notice {
  readonly kind: 'done' | 'failed';
  readonly text: string;
}

const notice = createSlice({
  name: 'notice',
  initialState: null as Notice | null,
  reducers: {
    noticed: (_, { payload }: PayloadAction<Notice>): Notice | null => payload,
    dismissed: (): Notice | null => null,
  },
});

export const { noticed, dismissed } = notice.actions;

export const store = configureStore({
  reducer: { session: session.reducer, notice: notice.reducer, [api.reducerPath]: api.reducer },
  middleware: (defaults) => defaults().concat(api.middleware),
});

export type State = ReturnType<typeof store.getState>;
export const useAppDispatch = useDispatch.withTypes<typeof store.dispatch>();
export const useAppSelector = useSelector.withTypes<State>();

/** What one person was shown is never shown to the next. */
client.subscribe(() => {
  const before = store.getState().session;
  const now = client.snapshot;
  store.dispatch(session.actions.sessionChanged(now));
  if (who(before) !== who(now) && before.status !== 'restoring') store.dispatch(api.util.resetApiState());
});

function who(snapshot: Snapshot): string | null {
  return snapshot.status === 'signed-in' ? (snapshot.userId ?? '') : null;
}
